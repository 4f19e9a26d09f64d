"""What a strict server that speaks OpenAI's format refuses: fields that it does not know, as Mistral's and FastAPI's do."""

from typing import Any

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.rules.chat import check_kinds, objects, unpaired

_FIELDS = names("max_tokens messages model parallel_tool_calls stop stream stream_options temperature tool_choice tools top_p")
_MESSAGE_FIELDS = {
    "system": names("role content"),
    "user": names("role content"),
    "assistant": names("role content tool_calls"),
    "tool": names("role content tool_call_id name"),
}


def check(body: dict[str, Any]) -> None:
    """Raise `RefusedError` for what the endpoint refuses."""
    for name in body:
        if name not in _FIELDS:
            _extra(["body", name])
    check_kinds(body)
    messages = body.get("messages")
    if not messages:
        raise RefusedError(422, "messages: List should have at least 1 item")
    for index, message in objects(messages, "messages"):
        known = _MESSAGE_FIELDS.get(str(message.get("role")))
        if known is None:
            raise RefusedError(422, f"messages.{index}.role: Input should be 'system', 'user', 'assistant' or 'tool'")
        for name in message:
            if name not in known:
                _extra(["body", "messages", index, name])
        if not isinstance(message.get("content"), str | list | None):
            raise RefusedError(422, f"messages.{index}.content: Input should be a valid string")
    broken = unpaired(messages)
    if broken is not None:
        raise RefusedError(400, f"messages.{broken.index}: tool call ids {', '.join(broken.ids)}: {broken.kind}")
    for index, tool in objects(body.get("tools") or [], "tools"):
        if not isinstance(tool.get("function"), dict) or not isinstance(tool["function"].get("name"), str):
            raise RefusedError(422, f"tools.{index}.function.name: Field required")


def _extra(place: list[str | int]) -> None:
    where = ", ".join(repr(step) for step in place)
    raise RefusedError(422, f"[{{'type': 'extra_forbidden', 'loc': ({where}), 'msg': 'Extra inputs are not permitted'}}]")
