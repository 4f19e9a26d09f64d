"""Arithmetic of token counts: unknown is not zero."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Final

from gateway.core.events import UsageReported
from gateway.core.jsontext import dumps
from gateway.core.messages import AssistantMessage, Prompt, ToolResults, UserMessage

NOTHING: Final = UsageReported()
_NAMES: Final = tuple(field.name for field in fields(UsageReported))

_BYTES_A_TOKEN: Final = 4
"""Of UTF-8: English has about four, Arabic about five."""

Count = int | None


def added(one: UsageReported, other: UsageReported) -> UsageReported:
    """What two calls used together; a count that either did not report is unknown."""
    return _by_field(one, other, lambda left, right: None if left is None or right is None else left + right)


def merged(before: UsageReported, after: UsageReported) -> UsageReported:
    """Two reports of one call: the later one counts, field by field."""
    return _by_field(before, after, lambda old, new: old if new is None else new)


def at_least(reported: UsageReported, asked: Prompt, said_bytes: int) -> UsageReported:
    """What a reply used that was cut before its provider counted: what that one did report, and the rest by the size of what
    was asked and said (UTF-8 bytes). Images are left out. Nothing is guessed of a reply of which nothing came."""
    if not said_bytes:
        return reported
    given = _tokens(_size(asked)) if reported.input_tokens is None else reported.input_tokens
    # A count that came with a reply's beginning is not of its end.
    return replace(reported, input_tokens=given, output_tokens=max(reported.output_tokens or 0, _tokens(said_bytes)))


def _size(prompt: Prompt) -> int:
    size = len((prompt.system or "").encode())
    for message in prompt.messages:
        match message:
            case UserMessage():
                size += len(message.text.encode())
            case AssistantMessage(text, calls):
                size += len(text.encode()) + sum(len(dumps(call.arguments)) for call in calls)
            case ToolResults(results):
                size += sum(len(result.content.encode()) for result in results)
    return size + sum(len(dumps((tool.name, tool.description, tool.parameters))) for tool in prompt.tools)


def _tokens(size: int) -> int:
    return -(-size // _BYTES_A_TOKEN)


def _by_field(one: UsageReported, other: UsageReported, join: Callable[[Count, Count], Count]) -> UsageReported:
    return UsageReported(*(join(getattr(one, name), getattr(other, name)) for name in _NAMES))
