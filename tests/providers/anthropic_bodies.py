"""Requests to Anthropic as the tests build and read them."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gateway.core.messages import (
    AssistantMessage,
    KeptState,
    Message,
    Prompt,
    TextPart,
    ToolCall,
    ToolSpec,
    UserMessage,
)
from gateway.providers.anthropic import PROVIDER
from gateway.providers.base import Route
from tests.lazily import Lazily

RECORDED = Path(__file__).parent.parent / "fixtures" / "requests"
MODEL = "claude-haiku-4-5"
WEATHER = ToolSpec("get_weather", "حالة الطقس في مدينة", {"type": "object", "properties": {"city": {"type": "string"}}})

_params = Lazily("anthropic.types.message_create_params")


def route(model: str = MODEL, dropped: Iterable[str] = ()) -> Route:
    return Route("anthropic", model, "https://api.anthropic.com", "sk-ant-test", frozenset(dropped))


def user(text: str) -> UserMessage:
    return UserMessage((TextPart(text),))


def call(call_id: str, city: str = "مكة") -> ToolCall:
    return ToolCall(call_id, "get_weather", {"city": city})


def called(*calls: ToolCall, text: str = "", state: KeptState | None = None) -> AssistantMessage:
    return AssistantMessage(text, calls, state)


def body(prompt: Prompt, where: Route | None = None, *, stream: bool = True) -> dict[str, Any]:
    """Encode and return the outgoing JSON, checked against the vendor's own types."""
    found: dict[str, Any] = json.loads(PROVIDER.encode(prompt, where or route(), stream).body)
    check_types(found)
    return found


def messages(*history: Message, where: Route | None = None, tools: tuple[ToolSpec, ...] = (WEATHER,)) -> Any:
    return body(Prompt(history, tools=tools), where)["messages"]


def check_types(found: dict[str, Any]) -> None:
    """Assert that the vendor's types take the body and know every field in it (but temperature, which left them)."""
    typed = {name: value for name, value in found.items() if name != "temperature"}
    assert _plain(_adapter(streamed=found.get("stream", False)).validate_python(typed)) == typed


@cache
def _adapter(*, streamed: bool) -> TypeAdapter[Any]:
    return TypeAdapter(_params.MessageCreateParamsStreaming if streamed else _params.MessageCreateParamsNonStreaming)


def _plain(value: Any) -> Any:
    """The types' iterables are validated as they are read, and fields they don't know are left out."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return [_plain(item) for item in value]


def recorded(name: str) -> dict[str, Any]:
    """Return a request that the provider answered with 200."""
    found: dict[str, Any] = json.loads((RECORDED / f"anthropic-{name}.json").read_bytes())["body"]
    return found


def normal(found: Any) -> Any:
    """Return recorded messages in this gateway's spelling: blocks for strings, no cache marks, no blank text."""
    return [{"role": message["role"], "content": _blocks(message["content"])} for message in found]


def _blocks(content: Any) -> list[dict[str, Any]]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    kept = [block for block in blocks if block["type"] != "text" or block["text"].strip()]
    return [{name: block[name] for name in block if name not in ("cache_control", "is_error")} for block in kept]
