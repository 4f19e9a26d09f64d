"""Requests of the Responses API: encoded, and held against the vendor's own types."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from gateway.core.messages import KeptState, Prompt, TextPart, ToolCall, ToolResult, ToolResults, ToolSpec, UserMessage
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.responses import PROVIDER
from tests.lazily import Lazily

_params = Lazily("openai.types.responses.response_create_params")

MODEL = "gpt-6.1-sol"
QUESTION = UserMessage((TextPart("ما معنى كتاب؟"),))
ENTRY = ToolSpec(
    "get_entry", "مدخل من المعجم", {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
)
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA=="}


def request(
    prompt: Prompt,
    model: str = MODEL,
    *,
    provider: str = "openai",
    base_url: str = "https://api.openai.com/v1",
    stream: bool = False,
    dropped: Iterable[str] = (),
) -> UpstreamRequest:
    """Encode a prompt."""
    return PROVIDER.encode(prompt, Route(provider, model, base_url, "sk-test", frozenset(dropped)), stream)


def body(prompt: Prompt, model: str = MODEL, **options: Any) -> dict[str, Any]:
    """Return the body of an encoded prompt, after the vendor's own types have taken it."""
    found: dict[str, Any] = json.loads(request(prompt, model, **options).body)
    assert _plain(_adapter().validate_python(found)) == found
    return found


@lru_cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(_params.ResponseCreateParams)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float) else [_plain(item) for item in value]


def call(call_id: str, word: str = "كتاب") -> ToolCall:
    return ToolCall(call_id, "get_entry", {"word": word})


def called(call_id: str, word: str = "كتاب") -> dict[str, Any]:
    """A call as the provider gave it."""
    arguments = json.dumps({"word": word}, ensure_ascii=False, separators=(",", ":"))
    return {"type": "function_call", "call_id": call_id, "name": "get_entry", "arguments": arguments}


def answered(*call_ids: str) -> ToolResults:
    return ToolResults(tuple(ToolResult(call_id, "get_entry", "صُحُفٌ مجموعة") for call_id in call_ids))


def state(*output: dict[str, Any], provider: str = "openai", model: str = MODEL) -> KeptState:
    return KeptState(provider, model, {"output": list(output)})
