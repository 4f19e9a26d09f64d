"""Recorded Gemini bodies as prompts: what the gateway would have known of them, its kept state included."""

import json
from itertools import chain
from typing import Any

from gateway.core.events import Event, StateKept
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import (
    AssistantMessage,
    KeptState,
    Message,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.gemini import PROVIDER


def reply(parts: list[dict[str, Any]]) -> bytes:
    """Return the whole reply that holds these parts."""
    return dumps({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]})


def kept(events: list[Event]) -> KeptState | None:
    """Return the state that these events leave behind, as it comes back from the log."""
    states = [event.data for event in events if isinstance(event, StateKept)]
    assert len(states) <= 1
    return KeptState("google", "gemini-2.5-flash", loads(dumps(states[0]))) if states else None


def prompt_of(body: dict[str, Any], keep_state: bool = True) -> Prompt:
    """Return the prompt that `body` was made of; the client returned names, arguments and text alone."""
    messages: list[Message] = []
    calls: tuple[ToolCall, ...] = ()
    for number, content in enumerate(body["contents"]):
        if content["role"] == "model":
            calls = _calls(content["parts"], number)
            state = kept(PROVIDER.decode_reply(reply(content["parts"]))) if keep_state else None
            messages.append(AssistantMessage("".join(_texts(content)), calls, state))
        elif "functionResponse" in content["parts"][0]:
            messages.append(_results(content, calls))
        else:
            messages.append(UserMessage(tuple(TextPart(text) for text in _texts(content))))
    limit = body.get("generationConfig", {}).get("maxOutputTokens", 8192)
    return Prompt(tuple(messages), tools=_tools(body), max_tokens=limit)


def _texts(content: dict[str, Any]) -> list[str]:
    return [part["text"] for part in content["parts"] if "text" in part]


def _calls(parts: list[dict[str, Any]], number: int) -> tuple[ToolCall, ...]:
    found = [part["functionCall"] for part in parts if "functionCall" in part]
    return tuple(ToolCall(f"call_{number}_{at}", call["name"], call["args"]) for at, call in enumerate(found))


def _results(content: dict[str, Any], calls: tuple[ToolCall, ...]) -> ToolResults:
    responses = [part["functionResponse"]["response"] for part in content["parts"]]
    pairs = zip(calls, responses, strict=True)
    return ToolResults(tuple(ToolResult(call.id, call.name, _result(response)) for call, response in pairs))


def _result(response: dict[str, Any]) -> str:
    return str(response["output"]) if response.keys() == {"output"} else json.dumps(response, ensure_ascii=False)


def _tools(body: dict[str, Any]) -> tuple[ToolSpec, ...]:
    declared = chain.from_iterable(tool["functionDeclarations"] for tool in body.get("tools", []))
    return tuple(ToolSpec(tool["name"], tool["description"], _schema(tool)) for tool in declared)


def _schema(tool: dict[str, Any]) -> dict[str, Any]:
    found = tool.get("parametersJsonSchema", {})
    assert isinstance(found, dict)
    return found
