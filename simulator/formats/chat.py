"""Reading a request in OpenAI's chat format, whoever speaks it."""

from collections.abc import Callable
from typing import Any, Literal

from simulator.answer import Ask, Tool
from simulator.formats.base import Incoming, RefusedError, unknown_model
from simulator.script import directive, without_directive


def read_chat(incoming: Incoming, provider: str, check: Callable[[dict[str, Any]], None]) -> Ask:
    """Return what a chat request asks; raise `RefusedError` where `check` or an unknown model refuses it."""
    body = incoming.body
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError(400, "you must provide a model parameter")
    check(body)
    if unknown_model(model):
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(404, text, code="model_not_found")
    messages: list[dict[str, Any]] = body["messages"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    said = text_of(messages[last]["content"]) if last >= 0 else ""
    choice, forced = _choice(body.get("tool_choice"))
    return Ask(
        provider=provider,
        model=model,
        stream=bool(body.get("stream")),
        question=without_directive(said),
        directive=directive(said),
        results=tuple(text_of(message["content"]) for message in messages[last + 1 :] if message["role"] == "tool"),
        tools=tuple(Tool(tool["function"]["name"], tool["function"].get("parameters") or {}) for tool in body.get("tools") or ()),
        choice=choice,
        forced=forced,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        input_tokens=incoming.tokens,
        options=body,
    )


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of an array."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict))


def _choice(choice: Any) -> tuple[Literal["auto", "none", "required"], str | None]:
    if isinstance(choice, dict):
        return "required", (choice.get("function") or {}).get("name")
    return ("auto", None) if choice not in ("none", "required") else (choice, None)
