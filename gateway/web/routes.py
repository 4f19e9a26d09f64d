"""Every address of the server."""

from aiohttp import web

from gateway.web import auth, chat, conversations, export, monitoring, openai_chat, openai_models, statistics, streams
from gateway.web.pages.routes import page_routes
from gateway.web.reference import reference_routes


def add_routes(app: web.Application) -> None:
    """Put all routes on the application."""
    app.add_routes(
        [
            web.get("/", monitoring.root),
            web.get("/health", monitoring.health),
            web.get("/health/live", monitoring.live),
            web.get("/health/ready", monitoring.ready),
            web.get("/stats", statistics.stats),
            web.get("/metrics", statistics.metrics),
            web.post("/chat", chat.chat),
            web.post("/chat/stream", chat.chat_stream),
            web.delete("/chat/stream", streams.stop_by_key),
            web.get("/chat/stream/{turn_id}", streams.resume, allow_head=False),
            web.delete("/chat/stream/{turn_id}", streams.stop),
            web.post("/v1/chat/completions", openai_chat.complete),
            web.get("/v1/chat/completions/{completion_id}", openai_chat.get_completion, allow_head=False),
            web.get("/v1/models", openai_models.list_models),
            web.get("/v1/models/{model:.+}", openai_models.get_model),
            web.post("/auth/google/mobile", auth.google),
            web.post("/auth/apple/mobile", auth.apple),
            web.get("/auth/me", auth.me),
            web.delete("/auth/me", auth.forget_me),
            web.get("/conversations", conversations.list_conversations),
            web.get("/conversations/export", export.export_conversations, allow_head=False),
            web.get("/conversations/{conversation_id}", conversations.get_conversation),
            web.delete("/conversations/{conversation_id}", conversations.delete_conversation),
            *reference_routes(),
            *page_routes(),
        ]
    )
