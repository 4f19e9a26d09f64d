"""A journal that cannot be used, and a server that starts without a database."""

import asyncio

import psutil
import pytest

from tests.faults.crowd import Crowd, Manner
from tests.faults.database import Database
from tests.faults.durable import Serve
from tests.faults.ledger import compared, health, reported, settled, texts
from tests.faults.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_full_journal_refuses_new_turns_and_keeps_the_running_ones(database: Database, url: str, serve: Serve) -> None:
    await database.stop()
    server = await serve(DATABASE_URL=url, JOURNAL_MAX_BYTES="30000")
    async with Crowd(lambda: server.url, Manner(words=40, gaps_ms=(15,)), seed=1) as crowd:
        running = [asyncio.create_task(crowd.ask(crowd.question(streamed=True))) for _ in range(3)]
        while (last := await crowd.ask(crowd.question(streamed=False))).end == "done":
            assert last.body["logged"] == "spooled"
        assert (last.status, last.code) == (503, "overloaded")
        assert last.body["retry_after"] > 0
        assert {(await one).end for one in running} == {"done"}
        assert (await health(server.url))["spooled_turns"] == len(crowd.asked) - 1
        await database.start()
        await settled(server.url)
        assert (await crowd.ask()).body["logged"] == "stored"
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)
        await _fill_the_disk(server, url)


async def _fill_the_disk(server: Server, url: str) -> None:
    """No file may grow any more, as on a full disk; then it may again."""
    process = psutil.Process(server.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    async with Crowd(lambda: server.url, Manner(words=30, gaps_ms=(15,)), seed=2) as crowd:
        running = [asyncio.create_task(crowd.ask(crowd.question(streamed=True))) for _ in range(3)]
        await reported(server.url, lambda body: body["active_turns"] == 3)
        process.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))
        refused = await crowd.ask()
        assert (refused.status, refused.code) == (503, "overloaded")
        assert {((await one).end, one.result().body["logged"]) for one in running} == {("done", "stored")}
        body = await health(server.url)
        assert (body["status"], body["journal"]) == ("degraded", "down")
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        assert (await crowd.ask()).body["logged"] == "stored"
        assert (await health(server.url))["journal"] == "up"
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)


async def test_a_server_starts_without_its_database_and_on_a_damaged_journal(database: Database, url: str, serve: Serve) -> None:
    server = await serve(DATABASE_URL=url)
    assert await server.stop() == 0
    journal = server.data / "journal"
    (journal / "0.sqlite").write_bytes(b"no journal " * 1000)
    await database.stop()
    await server.start()
    assert "was set aside as 0.sqlite.corrupt-" in server.text
    assert len(list(journal.glob("0.sqlite.corrupt-*"))) == 1
    async with Crowd(lambda: server.url, seed=3) as crowd:
        assert {(await crowd.ask()).body["logged"] for _ in range(4)} == {"spooled"}
        await server.kill()
        await server.start()
        assert (await health(server.url))["spooled_turns"] == 4
        assert (await crowd.ask()).body["logged"] == "spooled"
        await database.start()
        await settled(server.url)
        assert (await crowd.ask()).body["logged"] == "stored"
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)
    assert await server.stop() == 0
    assert not [path for path in journal.iterdir() if "corrupt" not in path.name], "nothing is left to keep"
