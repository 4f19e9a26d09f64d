"""What an operation of the server is, and the parameters and headers that operations share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from gateway.core.errors import ErrorCode
from gateway.web import examples, examples_openai

JSON: Final = "application/json"
SSE: Final = "text/event-stream"
HTML: Final = "text/html"
TEXT: Final = "text/plain"
NDJSON: Final = "application/x-ndjson"

REQUEST_ERRORS: Final[tuple[ErrorCode, ...]] = (
    "invalid_json",
    "unknown_provider",
    "unknown_model",
    "provider_rejected",
    "not_found",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "idempotency_mismatch",
    "daily_limit_reached",
    "provider_error",
    "interrupted",
    "turn_elsewhere",
    "log_unavailable",
    "provider_overloaded",
    "provider_not_configured",
    "shutting_down",
    "overloaded",
    "provider_timeout",
)
TURN_ERRORS: Final[tuple[ErrorCode, ...]] = ("not_found", "invalid_request", "turn_elsewhere", "log_unavailable")


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `headers` are names of `HEADERS`; `streamed`: what comes instead, as server-sent events, where the request
    asks for a stream."""

    status: int
    description: str
    schema: type[BaseModel] | None = None
    media: str | None = JSON
    headers: tuple[str, ...] = ()
    streamed: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `parameters` are names of `PARAMETERS`; `limited`: rate limits apply; `openai`: its errors have
    the shape of OpenAI's."""

    method: Literal["get", "post", "delete"]
    path: str
    id: str
    tag: str
    summary: str
    description: str
    answers: tuple[Answer, ...]
    errors: tuple[ErrorCode, ...] = ()
    parameters: tuple[str, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_examples: dict[str, dict[str, Any]] | None = None
    body_required: bool = True
    public: bool = False
    limited: bool = False
    openai: bool = False


_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the turn: the same caller repeating it within 24 hours gets the same turn, joined or replayed.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "example": "9b6e1f3c-question-17",
}
PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "Idempotency-Key": _KEY,
    "Idempotency-Key!": _KEY | {"required": True},
    "Last-Event-ID": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event the client has: the stream goes on behind it.",
        "schema": {"type": "string"},
        "example": examples.EVENT_ID,
    },
    "Cache-Control": {
        "name": "Cache-Control",
        "in": "header",
        "description": "Where replies may come from a cache: `no-cache` asks the provider anew (without meaning beside `Accept: "
        "text/event-stream`), `no-store` also keeps the reply from answering others.",
        "schema": {"type": "string"},
        "example": "no-store",
    },
    "window": {
        "name": "window",
        "in": "query",
        "description": "How far back: a number and one of `s`, `m`, `h`, `d`.",
        "schema": {"type": "string", "pattern": r"^[1-9]\d{0,4}[smhd]$", "default": "24h"},
    },
    "turn_id": {
        "name": "turn_id",
        "in": "path",
        "required": True,
        "description": "As in X-Turn-Id, the event `start` and the reply.",
        "schema": {"type": "string"},
        "example": examples.TURN_ID,
    },
    "completion_id": {
        "name": "completion_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "example": examples_openai.COMPLETION_ID,
    },
    "model": {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "It may hold slashes.",
        "schema": {"type": "string", "minLength": 1},
        "example": examples_openai.MODEL,
    },
    "conversation_id": {
        "name": "conversation_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "example": examples.CONVERSATION_ID,
    },
}

HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The request's id: the one it was sent with (1 to 128 of `A-Za-z0-9._:-`), or a new one.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Turn-Id": {"description": "The turn's id.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to show who asks (RFC 9110).", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Limit": {"description": "Requests allowed in the window.", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "Requests left in the window.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "Seconds until the window is new.", "schema": {"type": "integer"}},
}
