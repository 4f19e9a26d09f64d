"""What Anthropic must get back of its own turns: the assistant's content blocks, thinking with its signature.

A reply that thinks and calls tools is kept as `{"content": [block, …]}`: the blocks in their order, each as the next
request must hold it. Only with tools: the API wants thinking back while the calls it led to are being answered, and
lets it be left out of finished turns. A thinking block may have no text (its display omitted) and still must be sent.
Source: the Messages API documentation, "Thinking" and "Preserved thinking".
"""

import re
from typing import Any

from gateway.core.messages import AssistantMessage
from gateway.providers.common import as_dict, as_list, portable_id

_SNAPSHOT = re.compile(r"-(?:\d{8}|latest)$")
_TEXTS = {"text": ("text",), "thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
_MAY_BE_EMPTY = {"thinking"}


def keep(content: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the state of a reply made of these blocks, None when there is nothing to keep: no thinking, or no call."""
    types = {block["type"] for block in content}
    return {"content": content} if "tool_use" in types and types & {"thinking", "redacted_thinking"} else None


def kept_content(message: AssistantMessage, model: str) -> list[dict[str, Any]] | None:
    """Return the blocks that `message` was made of, None when none were kept or they don't fit.

    They fit the model that wrote them (signatures are its own) and the calls of `message`, by name and order.
    """
    state = message.state
    if state is None or state.provider != "anthropic" or _family(state.model) != _family(model):
        return None
    content = [sendable(as_dict(block)) for block in as_list(state.data.get("content"))]
    blocks = [block for block in content if block is not None]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    if len(blocks) != len(content) or [use["name"] for use in uses] != [call.name for call in message.tool_calls]:
        return None
    for use, call in zip(uses, message.tool_calls, strict=True):
        use["id"] = use["id"] or portable_id(call.id)
    return blocks if uses and len({use["id"] for use in uses}) == len(uses) else None


def sendable(block: dict[str, Any]) -> dict[str, Any] | None:
    """Return the block with the fields that a request takes, None when it is of another type or lacks what is required.

    The API refuses text without a character to see, and thinking without a signature.
    """
    kind = block.get("type")
    if kind == "tool_use":
        return _tool_use(block)
    fields = _TEXTS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return None
    found = {name: block.get(name) for name in fields}
    if all(isinstance(text, str) and (text.strip() or name in _MAY_BE_EMPTY) for name, text in found.items()):
        return {"type": kind, **found}
    return None


def _tool_use(block: dict[str, Any]) -> dict[str, Any] | None:
    call_id, name, arguments = block.get("id"), block.get("name"), block.get("input")
    if not (isinstance(name, str) and name and isinstance(arguments, dict)):
        return None
    return {"type": "tool_use", "id": call_id if isinstance(call_id, str) else "", "name": name, "input": arguments}


def _family(model: str) -> str:
    """An alias and its dated snapshot are one model."""
    return _SNAPSHOT.sub("", model)
