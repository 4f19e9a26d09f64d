"""Turns on their way into the log, and the statements that carry them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.turn import TurnRecord
from gateway.store.base import Receipt


class NotLogged(Exception):
    """Neither the database nor the journal takes a turn: it is in memory alone."""


@dataclass(slots=True, eq=False)
class Item:
    """A turn that ended `since` (the loop's seconds) and waits for its place; `size` is about its characters."""

    record: TurnRecord
    conversation: str
    size: int
    since: float
    answer: asyncio.Future[Receipt]


@dataclass(slots=True, eq=False)
class Statement:
    """Turns that share a statement; `slow` once others need not wait for it, `overdue` once it took too long, and they went to
    the journal."""

    items: list[Item]
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    slow: bool = False
    overdue: bool = False


def answer(item: Item, receipt: Receipt) -> None:
    """Tell where a turn lies, unless that was told before."""
    if not item.answer.done():
        item.answer.set_result(receipt)


def disappoint(items: Iterable[Item]) -> None:
    """Tell that turns are in memory alone."""
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(NotLogged(item.record.begun.turn_id))
            item.answer.exception()  # nobody may be waiting for it


def size_of(record: TurnRecord) -> int:
    """About how many characters a statement grows by."""
    begun, reply = record.begun, record.ended.reply
    size = len(begun.question or "") + len(begun.question_parts or "") + len(reply.content)
    for thought in reply.thoughts:
        size += len(thought.content)
    for result in begun.tool_results:
        size += len(result.content)
    return size
