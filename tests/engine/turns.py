"""Turns for tests of the engine: as accepted, as ended, and read to the end."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

from gateway.core.events import Event, Finished
from gateway.core.fold import Fold
from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnBegun, TurnEnded
from gateway.engine.live import LiveTurn, Outcome
from gateway.engine.reader import Reader
from gateway.engine.replay import outcome_of
from tests.wire.client import Received, received

T = TypeVar("T")

SOON_S = 10.0
"""No test waits so long unless something hangs."""


async def soon(work: Awaitable[T]) -> T:
    """The result of `work`, or a failure instead of a hanging test."""
    async with asyncio.timeout(SOON_S):
        return await work


def begun(conversation_id: str = "conv-1", question: str | None = "ما معنى كتاب؟") -> TurnBegun:
    """A turn that was accepted."""
    return TurnBegun(new_turn_id(), conversation_id, None, "openai", "m", question, None, (), 1_700_000_000_000, "hash", "req-1")


def live(on_alone: Any = None) -> LiveTurn:
    """A running turn with an empty tape."""
    return LiveTurn(begun(), Fold(lambda: 1.0), on_alone or (lambda _: None))


def feed(turn: LiveTurn, *events: Event) -> None:
    """What the turn's task does with a batch."""
    before = turn.fold.tape.end
    for event in events:
        turn.fold.add(event)
    if turn.fold.tape.end != before:
        turn.publish()


def completed(turn: LiveTurn) -> Outcome:
    """The outcome of a turn that ends well with what is on its tape."""
    turn.fold.add(Finished("stop"))
    ended = TurnEnded("completed", "openai", "m", turn.fold.reply(), 1_700_000_000_001)
    return outcome_of(turn.begun, ended, 7, turn.begun.conversation_id)


async def read_all(turn: LiveTurn, position: int | None = None, heartbeat_s: float = 60) -> list[Received]:
    """Every event of a turn behind `position`, until the stream ends."""
    reader = Reader(turn, position, heartbeat_s)
    data = b""
    try:
        while (frames := await reader.next()) is not None:
            data += frames
    finally:
        reader.close()
    return received(data)


def text_of(events: list[Received]) -> str:
    """The reply's text as a client joins it."""
    return "".join(event.data["text"] for event in events if event.name == "token")


def body_of(outcome: Outcome) -> dict[str, Any]:
    """The body of a turn that ended well."""
    assert outcome.body is not None
    body: dict[str, Any] = json.loads(outcome.body)
    return body
