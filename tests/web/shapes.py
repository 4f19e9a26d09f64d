"""Real answers held against the models that the reference is made of."""

import json
from typing import Any

import httpx
from pydantic import BaseModel

from gateway.core.errors import KINDS
from gateway.web import schemas
from tests.running import Told

EVENT_MODELS: dict[str, type[BaseModel]] = {
    "start": schemas.StreamStart,
    "token": schemas.StreamText,
    "thought": schemas.StreamText,
    "tool_call": schemas.ToolCall,
    "source": schemas.Source,
    "status": schemas.StreamStatus,
    "done": schemas.ChatReply,
    "failed": schemas.StreamFailure,
}


def check(model: type[BaseModel], value: Any) -> None:
    """Assert that a JSON value is exactly what the model says, no field more."""
    model.model_validate_json(json.dumps(value), strict=True)


def check_stream(told: Told) -> None:
    """Assert what holds for every stream read from its start."""
    assert told.names[0] == "start"
    assert [name for name in told.names if name in ("done", "failed")] == [told.names[-1]]
    for event in told.events:
        check(EVENT_MODELS[event.event], json.loads(event.data))
    ids = [event.id for event in told.events]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert all(told.data("start")[0]["turn_id"] in identity for identity in ids)
    assert [event.retry for event in told.events] == [1000, *[None] * (len(told.events) - 2), 0]


def check_problem(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Assert that an answer is a problem object of this code, and return it."""
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert answer.headers["Content-Type"] == "application/problem+json"
    check(schemas.Problem, body)
    kind = KINDS[code]  # type: ignore[index]
    assert (answer.status_code, body["status"], body["title"]) == (kind.status, kind.status, kind.title)
    assert body["type"].endswith(code)
    assert body["detail"].endswith(".")
    assert body["request_id"] == answer.headers["X-Request-Id"]
    if "retry_after" in body:
        assert answer.headers["Retry-After"] == str(body["retry_after"])
    return body
