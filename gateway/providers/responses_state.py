"""What OpenAI's Responses API must get back of the assistant's turn: its reasoning, encrypted, with the calls it led to.

Nothing is stored at OpenAI (`store: false`), so a reply that reasons and calls tools is kept as `{"output": [item, …]}`: the
items in their order, each as the next request must hold it. Reasoning of finished turns may be left out.
Source: the "Reasoning models" and "Conversation state" guides, and `ResponseInputItemParam` of the vendor's SDK (openai 3.54).
"""

import re
from typing import Any

from gateway.core.messages import AssistantMessage
from gateway.providers.common import as_dict, as_list, as_str, portable_id

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def keep(output: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the state of a reply with these items, None when there is nothing to keep: no reasoning, or no call."""
    items = [item for whole in output if (item := sendable(whole)) is not None]
    types = {item["type"] for item in items}
    return {"output": items} if types >= {"reasoning", "function_call"} else None


def kept_items(message: AssistantMessage, provider: str, model: str) -> list[dict[str, Any]] | None:
    """Return the items that `message` was made of, None when none were kept or they don't fit.

    They fit the model that wrote them and the calls of `message`, by name and order; the calls get the ids they have there.
    """
    state = message.state
    if state is None or state.provider != provider or _family(state.model) != _family(model):
        return None
    items = [item for kept in as_list(state.data.get("output")) if (item := sendable(as_dict(kept))) is not None]
    calls = [item for item in items if item["type"] == "function_call"]
    if not calls or [call["name"] for call in calls] != [call.name for call in message.tool_calls]:
        return None
    for item, call in zip(calls, message.tool_calls, strict=True):
        item["call_id"] = portable_id(call.id)
    return items


def sendable(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the item with what a request takes of it, None when it has no place there or lacks what is required.

    Ids name what OpenAI has stored, which is nothing; only reasoning must have one.
    """
    match item.get("type"):
        case "reasoning":
            item_id, sealed = as_str(item.get("id")), as_str(item.get("encrypted_content"))
            if not (item_id and sealed):
                return None
            summary = [{"type": "summary_text", "text": text} for text in texts(item.get("summary"))]
            return {"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": sealed}
        case "message":
            said = item.get("content")
            text = said if isinstance(said, str) else "".join(texts(said))
            phase = as_str(item.get("phase"))
            message = {"type": "message", "role": "assistant", "content": text}
            return (message | ({"phase": phase} if phase else {})) if text else None
        case "function_call":
            name, arguments = as_str(item.get("name")), as_str(item.get("arguments"))
            call_id = as_str(item.get("call_id")) or ""
            if not name or arguments is None:
                return None
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        case _:
            return None


def texts(parts: Any) -> list[str]:
    """Return the texts of an item's parts: output text, refusals, pieces of a summary."""
    found = [as_str(part.get("text")) or as_str(part.get("refusal")) for part in map(as_dict, as_list(parts))]
    return [text for text in found if text]


def _family(model: str) -> str:
    """An alias and its dated snapshot are one model."""
    return _SNAPSHOT.sub("", model)
