"""Timers that share one of the loop's."""

import asyncio
import gc
import weakref

import pytest

from gateway.engine import alarms
from gateway.engine.alarms import ring_in
from tests.engine.turns import soon


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All alarms are shared ones, and none is far away."""
    monkeypatch.setattr(alarms, "_EXACT_S", 0.0)
    monkeypatch.setattr(alarms, "_GRAIN_S", 0.01)


async def test_alarms_ring_once_in_their_order_and_never_early() -> None:
    loop, rung, done = asyncio.get_running_loop(), list[str](), asyncio.Event()
    begun = loop.time()

    def last() -> None:
        rung.append("late")
        done.set()

    late = ring_in(asyncio.get_running_loop(), 0.05, last)
    ring_in(asyncio.get_running_loop(), 0.02, rung.append, "early")
    assert begun + 0.05 <= late.when() <= loop.time() + 0.06
    await soon(done.wait())
    assert rung == ["early", "late"]
    assert loop.time() >= begun + 0.05


async def test_one_that_was_taken_back_does_not_ring_and_holds_nothing() -> None:
    class Held:
        def call(self) -> None:
            raise AssertionError("it was taken back")

    held, done = Held(), asyncio.Event()
    alarm = ring_in(asyncio.get_running_loop(), 0.02, held.call)
    ring_in(asyncio.get_running_loop(), 0.02, done.set)
    alarm.cancel()
    alarm.cancel()
    assert alarm.cancelled()
    gone = weakref.ref(held)
    gc.disable()
    try:
        del held
        assert gone() is None
    finally:
        gc.enable()
    await soon(done.wait())


async def test_one_may_take_back_the_others_and_set_new_ones_while_it_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "_GRAIN_S", 0.05)
    rung, done = list[str](), asyncio.Event()

    def first() -> None:
        rung.append("first")
        second.cancel()
        ring_in(asyncio.get_running_loop(), 0.01, done.set)

    ring_in(asyncio.get_running_loop(), 0.02, first)
    second = ring_in(asyncio.get_running_loop(), 0.02, rung.append, "second")
    await soon(done.wait())
    assert rung == ["first"]


async def test_one_that_fails_keeps_no_other_from_ringing(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()

    def fail() -> None:
        raise RuntimeError("خطأ")

    ring_in(asyncio.get_running_loop(), 0.02, fail)
    ring_in(asyncio.get_running_loop(), 0.02, done.set)
    await soon(done.wait())
    assert "what was to happen at a time failed" in caplog.text


async def test_many_share_one_timer_of_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "_GRAIN_S", 1000.0)
    for _ in range(100):
        ring_in(asyncio.get_running_loop(), 10, lambda: None).cancel()
    made = alarms._ALARMS[asyncio.get_running_loop()]
    assert [len(alarms) for alarms in made._by_slot.values()] == [0]


def test_a_loop_that_had_alarms_is_gone_with_its_last_reference() -> None:
    async def set_one() -> "weakref.ref[asyncio.AbstractEventLoop]":
        ring_in(asyncio.get_running_loop(), 60, print).cancel()
        return weakref.ref(asyncio.get_running_loop())

    gone = asyncio.run(set_one())
    gc.collect()
    assert gone() is None
