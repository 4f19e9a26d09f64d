"""What a turn leaves behind goes at once: rings of objects would wait for the collector, which seldom comes."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator

import pytest

from gateway.core.fold import Fold
from gateway.core.turn import TurnError
from gateway.engine.live import LiveTurn
from gateway.engine.reader import Reader
from gateway.engine.replay import not_logged
from tests.engine.turns import begun


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_an_ended_turn_is_gone_with_its_last_reference(no_collector: None) -> None:
    heard: list[str] = []
    turn = LiveTurn(begun(), Fold(time.time), lambda _: None)
    _listen(turn, heard)
    reader, waiting = Reader(turn, None, 60), asyncio.create_task(turn.ended())
    await asyncio.sleep(0)
    turn.end(not_logged(turn.begun, TurnError("internal_error", "خطأ", retryable=True)))
    await waiting
    while await reader.next() is not None:
        pass
    reader.close()
    assert heard == [turn.begun.turn_id]
    gone = weakref.ref(turn)
    del turn, reader, waiting
    await asyncio.sleep(0)
    assert gone() is None


def _listen(turn: LiveTurn, heard: list[str]) -> None:
    """With a callback that holds the turn."""
    turn.when_ended(lambda _: heard.append(turn.begun.turn_id))
