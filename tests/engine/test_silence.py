"""The timeout on silence: it fires once, inside its block, and never hides a cancellation from outside."""

import asyncio

import pytest

from gateway.engine.silence import SilenceTimeout
from tests.engine.turns import soon

NEVER = 1000.0


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_silence_is_a_timeout_and_the_task_goes_on() -> None:
    with pytest.raises(TimeoutError):
        async with SilenceTimeout(0.001):
            await soon(forever())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_block_that_ends_in_time_leaves_no_timer() -> None:
    async with SilenceTimeout(0.001) as guard:
        pass
    assert guard._timer is not None
    assert guard._timer.cancelled()


async def test_a_new_limit_counts_from_now() -> None:
    async with SilenceTimeout(0.001) as guard:
        guard.allow(NEVER)
        await asyncio.sleep(0.005)

    async def work() -> None:
        async with SilenceTimeout(NEVER) as guard:
            guard.allow(0.001)
            await forever()

    with pytest.raises(TimeoutError):
        await soon(work())


async def test_touching_puts_the_timeout_off() -> None:
    async with SilenceTimeout(0.1) as guard:
        for _ in range(30):
            await asyncio.sleep(0.005)
            guard.touch()


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        async with SilenceTimeout(NEVER):
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_cancellation_that_meets_the_timeout_wins(cancelled_first: bool) -> None:
    guards: list[SilenceTimeout] = []

    async def work() -> None:
        async with SilenceTimeout(NEVER) as guard:
            guards.append(guard)
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    guards[0]._heard -= 2 * NEVER
    if cancelled_first:
        task.cancel()
    guards[0]._check()
    if not cancelled_first:
        task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_an_outer_timeout_stays_the_outer_ones() -> None:
    inner: list[str] = []

    async def work() -> None:
        try:
            async with SilenceTimeout(NEVER):
                await forever()
        except TimeoutError:
            inner.append("timeout")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.001)
    assert inner == []


async def test_other_errors_pass() -> None:
    with pytest.raises(KeyError):
        async with SilenceTimeout(NEVER):
            raise KeyError


async def test_an_error_that_meets_the_timeout_passes_and_nothing_is_left_of_it() -> None:
    async def fail() -> None:
        async with SilenceTimeout(NEVER) as guard:
            guard._heard -= 2 * NEVER
            asyncio.get_running_loop().call_soon(guard._check)
            try:
                await forever()
            except asyncio.CancelledError:
                raise KeyError from None

    async def work() -> int:
        with pytest.raises(KeyError):
            await fail()
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return task.cancelling()

    assert await soon(asyncio.create_task(work())) == 0
