"""Pages of other origins (the Fetch standard, "CORS protocol"): none unless CORS_ORIGINS names them, and never their cookies."""

from typing import Final

from aiohttp import web

from gateway.access.origins import ANY, Origins
from gateway.web.edge import Handler

# What OpenAI's client sends from a page (`buildHeaders` of openai 7.57 for JavaScript).
_STAINLESS: Final = (
    "Arch",
    "Helper-Method",
    "Lang",
    "OS",
    "Package-Version",
    "Retry-Count",
    "Runtime",
    "Runtime-Version",
    "Timeout",
)
_OPENAI_HEADERS: Final = ("OpenAI-Organization", "OpenAI-Project", *(f"X-Stainless-{name}" for name in _STAINLESS))
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, traceparent, "
    + ", ".join(_OPENAI_HEADERS),
    "Access-Control-Max-Age": "600",
}
_EXPOSED: Final = "X-Turn-Id, X-Request-Id, X-Should-Retry, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"


def add_cors(app: web.Application, origins: Origins) -> None:
    """Let pages of these origins call; without any nothing is added, and nothing paid for."""
    if not origins:
        return

    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say what a page may send; pages of other origins hear what everybody hears of OPTIONS."""
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if asked and origins.allows(request.headers.get("Origin")):
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        """Good answers, errors and streams alike: otherwise a page could not even tell an error from an outage."""
        origin = request.headers.get("Origin")
        if not origins.anyone:
            response.headers.add("Vary", "Origin")
        if origin is not None and origins.allows(origin):
            response.headers["Access-Control-Allow-Origin"] = ANY if origins.anyone else origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    app.middlewares.append(preflight)
    app.on_response_prepare.append(mark)
