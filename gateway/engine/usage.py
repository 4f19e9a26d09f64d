"""Arithmetic of token counts: unknown is not zero."""

from collections.abc import Callable
from dataclasses import fields
from typing import Final

from gateway.core.events import UsageReported

NOTHING: Final = UsageReported()
_NAMES: Final = tuple(field.name for field in fields(UsageReported))

Count = int | None


def added(one: UsageReported, other: UsageReported) -> UsageReported:
    """What two calls used together; a count that either did not report is unknown."""
    return _by_field(one, other, lambda left, right: None if left is None or right is None else left + right)


def merged(before: UsageReported, after: UsageReported) -> UsageReported:
    """Two reports of one call: the later one counts, field by field."""
    return _by_field(before, after, lambda old, new: old if new is None else new)


def _by_field(one: UsageReported, other: UsageReported, join: Callable[[Count, Count], Count]) -> UsageReported:
    return UsageReported(*(join(getattr(one, name), getattr(other, name)) for name in _NAMES))
