"""Turns as JSON bytes and back, exactly: what a row of the journal holds.

Members that a later version added are skipped and members with a default may be missing, so that a file written by a
neighbouring version can be read.
"""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final, TypeVar, cast

import orjson

from gateway.core.events import SourceFound, UsageReported
from gateway.core.jsontext import clean_value, is_object, loads
from gateway.core.messages import ToolCall, ToolResult
from gateway.core.turn import Attempt, Reply, Thought, TurnBegun, TurnEnded, TurnError, TurnRecord

T = TypeVar("T")
Value = dict[str, Any]

_NOT_ASKED: Final[Value] = {"question": None, "question_parts": None, "tool_results": ()}


def _members(kind: type[T], *without: str) -> Callable[[T], Value]:
    """What turns a dataclass into a dict, as if written by hand: orjson itself asks one that has slots for its `__dict__` first,
    and then for each member in turn, which takes nearly twice as long."""
    names = [field.name for field in fields(cast("Any", kind)) if field.name not in without]
    source = ", ".join(f"{name!r}: value.{name}" for name in names)
    return cast("Callable[[T], Value]", eval(f"lambda value: {{{source}}}"))  # noqa: S307 - names of our own classes


_begun_members: Final = _members(TurnBegun)
_brief_members: Final = _members(TurnBegun, *_NOT_ASKED)
_ended_members: Final = _members(TurnEnded)
_reply_members: Final = _members(Reply)
_usage_members: Final = _members(UsageReported)


def encode(value: Any) -> bytes:
    """Encode a dataclass or JSON value; never refuses one, so that no turn is lost to an odd argument.

    Lone surrogates become U+FFFD; a leaf that no encoder takes (nested some 1,000 levels, not a number) becomes null.
    """
    return _encode(value, value)


def _encode(members: Any, value: Any) -> bytes:
    """Encode a value by its members, or where orjson refuses them by way of the standard library."""
    try:
        return orjson.dumps(members)
    except TypeError:
        # orjson stops at 254 levels, lone surrogates and integers of more than 64 bits; the standard library does not.
        return json.dumps(_plain(value), ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    try:
        cleaned = clean_value(value)
        json.dumps(cleaned, allow_nan=False)
    except (RecursionError, ValueError):
        return None
    return cleaned


def encode_brief(begun: TurnBegun) -> bytes:
    """Encode a turn as it was accepted, without what was asked; for `decode_begun`."""
    return encode(_NOT_ASKED | _brief_members(begun))


def encode_begun(begun: TurnBegun) -> bytes:
    """Encode a turn as it was accepted; for `decode_begun`."""
    return _encode(_begun_members(begun), begun)


def encode_record(record: TurnRecord) -> bytes:
    """Encode a whole turn."""
    return _encode(_record_members(record), record)


def encode_records(records: Sequence[TurnRecord]) -> bytes:
    """Encode whole turns as one array."""
    try:
        return orjson.dumps([_record_members(record) for record in records])
    except TypeError:
        return b"[%b]" % b",".join(map(encode_record, records))


def _record_members(record: TurnRecord) -> Value:
    ended, reply = _ended_members(record.ended), _reply_members(record.ended.reply)
    reply["usage"] = _usage_members(record.ended.reply.usage)
    ended["reply"] = reply
    return {"begun": _begun_members(record.begun), "ended": ended}


def decode_record(data: bytes) -> TurnRecord:
    """Decode a whole turn; raise `ValueError` when `data` does not hold one."""
    try:
        value = loads(data)
        return TurnRecord(_begun(value["begun"]), _ended(value["ended"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no turn: {error!r}") from error


def decode_begun(data: bytes) -> TurnBegun:
    """Decode a turn as it was accepted; raise `ValueError` when `data` does not hold one."""
    try:
        return _begun(loads(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no turn: {error!r}") from error


def decode_calls(values: list[Value]) -> tuple[ToolCall, ...]:
    """Tool calls from decoded JSON; raise `TypeError` or `AttributeError` when they are none."""
    return tuple(_call(value) for value in values)


def decode_sources(values: list[Value]) -> tuple[SourceFound, ...]:
    """Sources from decoded JSON; raise `TypeError` or `AttributeError` when they are none."""
    return tuple(_build(SourceFound, value) for value in values)


def decode_thoughts(values: list[Value]) -> tuple[Thought, ...]:
    """Thoughts from decoded JSON; raise `KeyError`, `TypeError` or `AttributeError` when they are none."""
    return tuple(_build(Thought, value, tool_calls=tuple(value["tool_calls"])) for value in values)


def decode_usage(value: Value) -> UsageReported:
    """Token counts from decoded JSON; raise `TypeError` or `AttributeError` when they are none."""
    return _build(UsageReported, value)


@cache
def _names(kind: Hashable) -> frozenset[str]:
    return frozenset(field.name for field in fields(cast("Any", kind)))


def _build(kind: type[T], value: Value, **converted: Any) -> T:
    known = _names(cast("Hashable", kind))
    return kind(**{**{name: item for name, item in value.items() if name in known}, **converted})


def _begun(value: Value) -> TurnBegun:
    results = tuple(_build(ToolResult, result) for result in value["tool_results"])
    return _build(TurnBegun, value, tool_results=results)


def _ended(value: Value) -> TurnEnded:
    error = value.get("error")
    return _build(
        TurnEnded,
        value,
        reply=_reply(value["reply"]),
        error=None if error is None else _build(TurnError, error),
        attempts=tuple(_build(Attempt, attempt) for attempt in value.get("attempts", ())),
    )


def _reply(value: Value) -> Reply:
    return _build(
        Reply,
        value,
        tool_calls=decode_calls(value["tool_calls"]),
        thoughts=decode_thoughts(value["thoughts"]),
        sources=decode_sources(value["sources"]),
        usage=decode_usage(value["usage"]),
    )


def _call(value: Value) -> ToolCall:
    arguments = value["arguments"]
    return _build(ToolCall, value, arguments=arguments if is_object(arguments) else {})
