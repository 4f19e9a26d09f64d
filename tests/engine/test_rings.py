"""What a turn leaves behind goes at once: rings of objects would wait for the collector, which seldom comes."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator, Mapping

import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed
from gateway.core.fold import Fold
from gateway.core.turn import TurnError
from gateway.engine.attempts import Take
from gateway.engine.live import LiveTurn
from gateway.engine.reader import Reader
from gateway.engine.replay import not_logged
from gateway.engine.routing import Choice
from gateway.engine.trail import Trail
from gateway.engine.upstream import Heard
from tests.engine.pretending import PROMPT, Pretended, Turns, fails, trail
from tests.engine.turns import begun
from tests.engine.wires import PROVIDER, Connection, Wire, wired


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


async def test_a_call_that_failed_is_gone_with_what_it_asked(no_collector: None) -> None:
    async def script(connection: Connection) -> None:
        connection.close()

    async with wired(script) as wire:
        gone = await _failed(wire)
        await asyncio.sleep(0)
        assert gone() is None


async def _failed(wire: Wire) -> "weakref.ref[Heard]":
    def heard(_: Mapping[str, str]) -> None:
        pass

    try:
        await wire.upstream.whole(PROVIDER, wire.request(), heard)
    except UpstreamError:
        return weakref.ref(heard)
    raise AssertionError("it did not fail")


async def test_why_a_turn_failed_does_not_hold_what_was_asked(no_collector: None) -> None:
    """The error stays with the turn, which can be read for a while."""
    turns = Turns(Pretended(openai=fails("rejected", 400)))
    choice = turns.router.choose(None, None)
    began = trail(choice)
    gone = await _broken(turns, choice, began)
    assert isinstance(began.fold.terminal, Failed)
    assert gone() is None


async def _broken(turns: Turns, choice: Choice, began: Trail) -> "weakref.ref[Take]":
    def take(batch: list[Event]) -> bool:
        began.fold.extend(batch)
        return False

    await turns.attempts.run(choice, PROMPT, began, take, stream=True)
    return weakref.ref(take)
