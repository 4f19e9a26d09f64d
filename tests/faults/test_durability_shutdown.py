"""The server is told to end under load: readers hear how their turns ended, the log has them all, and it ends in time."""

import asyncio
import signal
import time
from collections import Counter

import aiohttp
import pytest

from tests.faults.crowd import Crowd, Manner
from tests.faults.database import Database
from tests.faults.durable import Serve
from tests.faults.ledger import compared, settled, texts
from tests.faults.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")
DRAIN_S = 1.0
HANGS_S = 30.0
# Some replies end before DRAIN_S and some do not.
MANNER = Manner(rate=30, words=60, gaps_ms=(0, 5, 200), think_ms=2500)


async def ended_under_load(server: Server, crowd: Crowd, *signals: signal.Signals) -> tuple[int, float, list[int]]:
    """Send signals to a server that is asked meanwhile: exit status, how long it took (seconds), what readiness said."""
    readiness: list[int] = []
    took = 0.0
    status = -1

    async def look() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{server.url}/health/ready") as answer:
                        readiness.append(answer.status)
                except (aiohttp.ClientError, OSError):
                    return
                await asyncio.sleep(0.05)

    async def end() -> None:
        nonlocal took, status
        await asyncio.sleep(0.5)
        while not any(one.end == "done" for one in crowd.asked):  # noqa: ASYNC110 - the crowd tells nobody
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        looking = None
        for number in signals:
            server.send(number)
            await asyncio.sleep(0.1)
            looking = looking or asyncio.create_task(look())
        status, took = await server.ended(), time.monotonic() - begun
        assert looking is not None
        await looking

    await crowd.ask_during(end())
    return status, took, readiness


async def test_everybody_hears_how_it_ended(url: str, serve: Serve) -> None:
    server = await serve(DATABASE_URL=url, DRAIN_S=str(DRAIN_S))
    async with Crowd(lambda: server.url, MANNER, seed=1) as crowd:
        status, took, readiness = await ended_under_load(server, crowd, signal.SIGTERM)
        assert status == 0, server.text
        assert DRAIN_S <= took < HANGS_S
        assert set(readiness) == {503}
        codes = Counter(one.code for one in crowd.asked)
        assert codes["interrupted"] > 0
        assert codes["shutting_down"] > 0
        for one in crowd.asked:
            if one.end == "cut":
                assert one.status is None, "a reply that had begun was cut without a final event"
            if one.code == "interrupted":
                assert one.body["status"] == 503
            if one.end == "failed":
                assert (one.code, one.body["retryable"]) == ("interrupted", True)
        assert Counter(one.end for one in crowd.asked)["done"] > 0
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)
        assert comparison.logged.keys() == {"completed", "interrupted"}
        assert comparison.logged["interrupted"] == codes["interrupted"]


async def test_with_a_frozen_database_it_ends_in_time_too(database: Database, url: str, serve: Serve) -> None:
    server = await serve(DATABASE_URL=url, DRAIN_S="0.2", STORE_WAIT_S="600")
    async with Crowd(lambda: server.url, MANNER, seed=4) as crowd:
        with database.frozen():
            status, took, _ = await ended_under_load(server, crowd, signal.SIGTERM)
        assert status == 0
        assert took < HANGS_S, "far less than STORE_WAIT_S"
        await server.start()
        await settled(server.url)
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)


async def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(url: str, serve: Serve) -> None:
    server = await serve(DATABASE_URL=url, DRAIN_S="600")
    async with Crowd(lambda: server.url, MANNER, seed=3) as crowd:
        status, took, _ = await ended_under_load(server, crowd, signal.SIGINT, signal.SIGTERM)
        assert status == 1
        assert took < HANGS_S, "far less than DRAIN_S"
        await server.start()
        await settled(server.url)
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)
        assert comparison.logged["interrupted"] > 0
