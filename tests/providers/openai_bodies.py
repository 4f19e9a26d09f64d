"""Chat Completions requests: encoded, held against the vendors' own types, and recorded ones as prompts."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from gateway.core.messages import (
    AssistantMessage,
    Message,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.registry import PROVIDERS
from tests.lazily import Lazily
from tests.providers.fixture_cases import FIXTURES

BASE_URLS = {"openai": "https://api.openai.com/v1", "groq": "https://api.groq.com"}
_PARAMS = {name: Lazily(f"{name}.types.chat.completion_create_params") for name in BASE_URLS}

QUESTION = UserMessage((TextPart("ما حالة الطقس؟"),))
WEATHER = ToolSpec(
    "get_weather", "الطقس في مدينة", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)


def request(
    prompt: Prompt, model: str, *, provider: str = "openai", stream: bool = False, dropped: Iterable[str] = ()
) -> UpstreamRequest:
    """Encode a prompt for one of the providers of this format."""
    route = Route(provider, model, BASE_URLS[provider], "sk-test", frozenset(dropped))
    return PROVIDERS[provider].encode(prompt, route, stream)


def body(prompt: Prompt, model: str = "gpt-4o", **options: Any) -> dict[str, Any]:
    """Return the body of an encoded prompt, after its vendor's own types have taken it."""
    found = json.loads(request(prompt, model, **options).body)
    assert isinstance(found, dict)
    _check_types(options.get("provider", "openai"), found)
    return found


@lru_cache
def _adapter(provider: str) -> TypeAdapter[Any]:
    return TypeAdapter(_PARAMS[provider].CompletionCreateParams)


def _check_types(provider: str, found: dict[str, Any]) -> None:
    """Fail on a value of a wrong type and on a field that the types do not know: validation leaves such a field out."""
    # The groq client has no stream_options, its service takes them.
    known = {name: value for name, value in found.items() if provider == "openai" or name != "stream_options"}
    assert _plain(_adapter(provider).validate_python(known)) == known


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float) else [_plain(item) for item in value]


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded request body that its provider answered with 200."""
    found = json.loads((FIXTURES / "requests" / f"{name}.json").read_bytes())
    assert found["response_status"] == 200
    assert isinstance(found["body"], dict)
    return found["body"]


def as_prompt(recording: dict[str, Any]) -> Prompt:
    """Return a recorded request as the prompt that it stands for."""
    entries = recording["messages"]
    system = [entry["content"] for entry in entries if entry["role"] == "system"]
    messages: list[Message] = []
    results: list[ToolResult] = []
    names: dict[str, str] = {}
    for entry in entries:
        if entry["role"] == "tool":
            results.append(ToolResult(entry["tool_call_id"], names[entry["tool_call_id"]], entry["content"]))
            continue
        if results:
            messages.append(ToolResults(tuple(results)))
            results = []
        if entry["role"] == "user":
            messages.append(UserMessage((TextPart(entry["content"]),)))
        elif entry["role"] == "assistant":
            calls = tuple(_call(call) for call in entry["tool_calls"])
            names |= {call.id: call.name for call in calls}
            messages.append(AssistantMessage(entry.get("content") or "", calls))
    messages.append(ToolResults(tuple(results)))
    tools = tuple(
        ToolSpec(tool["function"]["name"], tool["function"]["description"], tool["function"]["parameters"])
        for tool in recording.get("tools", ())
    )
    return Prompt(tuple(messages), system=system[0] if system else None, tools=tools)


def _call(call: dict[str, Any]) -> ToolCall:
    return ToolCall(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))


def comparable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without what makes no difference: absent or null content, spaces inside arguments."""
    result = []
    for message in messages:
        plain = {name: value for name, value in message.items() if value is not None}
        calls = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in message.get("tool_calls", ())
        ]
        result.append(plain | ({"tool_calls": calls} if calls else {}))
    return result
