"""Abandonment: a turn is given up when nobody has read it for long enough."""

import asyncio

import pytest

from gateway.core.events import TextDelta
from gateway.engine import abandon
from gateway.engine.alarms import Timer
from gateway.engine.reader import Reader
from tests.engine.stage import GOOD, Halt, Stage, check_stopped
from tests.engine.turns import body_of, soon


@pytest.mark.parametrize("after_s", [0.0, 0.01])
async def test_a_turn_that_everybody_left_is_given_up(after_s: float) -> None:
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt, *GOOD, abandon_s=after_s)
    turn = stage.start()
    first, second = Reader(turn, None, 60), Reader(turn, 0, 60)
    await soon(halt.reached.wait())
    first.close()
    assert turn.readers == 1
    second.close()
    await check_stopped(stage, turn, "نص")
    assert stage.record.ended.abandoned
    assert not stage.record.binds_key


async def test_a_reader_who_comes_back_in_time_keeps_the_turn() -> None:
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt, *GOOD, abandon_s=0)
    turn = stage.start()
    Reader(turn, None, 60).close()
    back = Reader(turn, 0, 60)
    await soon(halt.reached.wait())
    halt.on.set()
    assert body_of(await soon(turn.ended()))["status"] == "completed"
    back.close()
    await stage.over()
    assert not stage.record.ended.abandoned


async def test_each_departure_counts_anew() -> None:
    """One who left long ago, came back and left again has just left."""
    stage = Stage(Halt(), abandon_s=1000)
    turn = stage.start()
    loop = asyncio.get_running_loop()
    timers: list[Timer] = []
    for _ in range(3):
        timers += stage.engine.abandonment._timers.values()
        Reader(turn, None, 60).close()
    (last,) = stage.engine.abandonment._timers.values()
    assert all(timer.cancelled() for timer in timers)
    assert not last.cancelled()
    assert last.when() >= loop.time() + 999
    stage.engine.stop(turn)
    await stage.over()
    assert stage.engine.abandonment._timers == {}
    assert last.cancelled()


async def test_a_turn_nobody_ever_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abandon, "UNATTENDED_S", 0.001)
    stage = Stage([TextDelta("نص")], Halt(), abandon_s=0)
    turn = stage.start()
    await check_stopped(stage, turn, "نص")
    assert stage.record.ended.abandoned
