"""Rules that OpenAI's chat format has wherever it is spoken."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from simulator.formats.base import RefusedError


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A break in the order of calls and results: at message `index`, concerning these call ids."""

    kind: Literal["stray", "missing", "duplicate"]
    index: int
    ids: tuple[str, ...]


_KINDS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "stream": ("a boolean", bool),
    "stream_options": ("an object", dict),
    "max_tokens": ("an integer", int),
    "max_completion_tokens": ("an integer", int),
    "temperature": ("a decimal", (int, float)),
    "top_p": ("a decimal", (int, float)),
    "reasoning_effort": ("a string", str),
}


def check_kinds(body: dict[str, Any]) -> None:
    """Raise `RefusedError` for a parameter of another kind than its own, or a token limit below one."""
    for name, (kind, types) in _KINDS.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise RefusedError(400, f"Invalid type for '{name}': expected {kind}.", param=name, code="invalid_type")
        if isinstance(value, int) and types is int and value < 1:
            text = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
            raise RefusedError(400, text, param=name, code="integer_below_min_value")


def unpaired(messages: list[dict[str, Any]]) -> Unpaired | None:
    """Return the first tool message without its call, or the first call without its tool message right behind it."""
    waiting: list[str] = []
    answered = False
    for index, message in enumerate(messages):
        if message.get("role") == "tool":
            call_id = str(message.get("tool_call_id"))
            if call_id not in waiting:
                return Unpaired("stray", index, (call_id,))
            waiting.remove(call_id)
            answered = True
            continue
        if waiting:
            return Unpaired("missing", index, tuple(waiting))
        waiting = call_ids(message)
        if len(set(waiting)) < len(waiting):
            return Unpaired("duplicate", index, tuple(waiting))
        answered = False
    return Unpaired("missing", len(messages) - (1 if answered else 0), tuple(waiting)) if waiting else None


def call_ids(message: dict[str, Any]) -> list[str]:
    """The ids of an assistant message's calls, in order."""
    return [str(call.get("id")) for call in message.get("tool_calls") or () if isinstance(call, dict)]


def objects(value: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over an array of objects; raise `RefusedError` when it is something else."""
    if not isinstance(value, list):
        raise RefusedError(400, f"Invalid type for '{name}': expected an array.", param=name, code="invalid_type")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            where = f"{name}[{index}]"
            raise RefusedError(400, f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
        yield index, item
