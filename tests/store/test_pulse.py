"""A database that says nothing: those who wait for it are told soon, those who come are told at once, until it speaks."""

import asyncio

import pytest

from gateway.store import pulse as module
from gateway.store.base import StoreUnavailable, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from gateway.store.pulse import Pulse
from tests.store.test_postgres_faults import PATIENCE_S, back, frozen
from tests.store.writing import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suspicious at once."""
    for name in ("SUSPICIOUS_S", "ANSWER_S", "_PAUSE_S"):
        monkeypatch.setattr(module, name, 0.01)


class Database:
    """Answers questions while it is `awake`."""

    def __init__(self) -> None:
        self.awake = True
        self.asked = 0
        self.refuses = False

    async def ask(self, seconds: float) -> None:
        """See `Pulse`."""
        self.asked += 1
        if self.refuses:
            raise ConnectionRefusedError
        async with asyncio.timeout(seconds):
            while not self.awake:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def wait_for_it(pulse: Pulse, gone: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S) as deadline:
        with pulse.waiting(deadline):
            await gone.wait()


async def test_who_waits_is_told_and_who_comes_is_told_at_once() -> None:
    database = Database()
    pulse = Pulse(database.ask, longest_s=0.01)
    database.awake = False
    waiting = [asyncio.create_task(wait_for_it(pulse, asyncio.Event())) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=PATIENCE_S)
    assert len(done) == 3
    assert {type(task.exception()) for task in done} == {TimeoutError}
    with pytest.raises(StoreUnavailable):
        pulse.check()
    database.awake = True
    await until(lambda: not pulse.silent)
    pulse.check()
    await pulse.close()


async def test_a_long_wait_for_a_database_that_answers_others_is_left_alone() -> None:
    database = Database()
    pulse = Pulse(database.ask, longest_s=0.01)
    gone = asyncio.Event()
    waiting = asyncio.create_task(wait_for_it(pulse, gone))
    await until(lambda: database.asked > 2)
    assert not pulse.silent
    gone.set()
    await waiting
    await pulse.close()


async def test_while_it_is_heard_nobody_asks() -> None:
    database = Database()
    pulse = Pulse(database.ask, longest_s=0.01)
    gone = asyncio.Event()
    waiting = asyncio.create_task(wait_for_it(pulse, gone))
    loop = asyncio.get_running_loop()
    enough = loop.time() + 20 * module.SUSPICIOUS_S
    while loop.time() < enough:
        await asyncio.sleep(0)  # however slow the machine is, this comes around before the next look
        pulse.heard()
    gone.set()
    await waiting
    assert database.asked == 0
    await pulse.close()


async def test_a_refusal_is_an_answer() -> None:
    database = Database()
    database.refuses = True
    pulse = Pulse(database.ask, longest_s=0.01)
    pulse.suspect()
    await until(lambda: database.asked == 1)
    await asyncio.sleep(0)
    pulse.check()
    await pulse.close()


async def test_a_closed_one_leaves_no_task() -> None:
    database = Database()
    database.awake = False
    pulse = Pulse(database.ask, longest_s=1000)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(wait_for_it(pulse, asyncio.Event()))
    await until(lambda: database.asked)
    await pulse.close()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert asyncio.all_tasks() == before


async def test_a_frozen_server_is_left_alone_after_a_moment_and_found_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SUSPICIOUS_S", "ANSWER_S"):
        monkeypatch.setattr(module, name, 1.0)
    store = PostgresStore(parse_dsn(database_url), command_timeout_s=1000)
    await store.ping()
    async with asyncio.timeout(PATIENCE_S):
        with frozen(database_url):
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await store.history("conv-1", Viewer(None), 10)
        await back(store)
        await store.close()
