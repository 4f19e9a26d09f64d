"""The writer and the journal on a real PostgreSQL that is stopped, started and locked."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.core.turn import TurnRecord
from gateway.store.base import Stored
from gateway.store.drain import Pace
from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.postgres import PostgresStore
from tests.store.journal_turns import begun, record
from tests.store.writing import until, writing

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a server of the test's own lives."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def replies(url: str) -> dict[str, list[str]]:
    """What assistants said, by conversation, in the order of the rows."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch("SELECT conversation_id, content FROM messages WHERE role = 'assistant' ORDER BY id")
    finally:
        await connection.close()
    said: dict[str, list[str]] = defaultdict(list)
    for row in found:
        said[row["conversation_id"]].append(row["content"])
    return said


async def test_ten_thousand_turns_of_an_outage_are_written_in_order_each_once(tmp_path: Path, home: Path) -> None:
    server = EmbeddedPostgres(home, FAST)
    url = await asyncio.to_thread(server.start)
    store = PostgresStore(parse_dsn(url))
    expected: dict[str, list[str]] = defaultdict(list)
    try:
        await store.prepare()
        async with writing(tmp_path, store, store_wait_s=10, pace=Pace(longest_s=0.5)) as writer:

            async def ask(number: int) -> int | None:
                one = record(content=f"جواب {number}", conversation=f"conv-{number * 7919 % 3000}")
                expected[one.begun.conversation_id].append(one.ended.reply.content)
                await writer.begin(one.begun)
                return (await writer.put(one)).message_id

            assert None not in await asyncio.gather(*(ask(number) for number in range(100)))
            await asyncio.to_thread(server.stop)
            for start in range(100, 10_100, 500):
                assert set(await asyncio.gather(*(ask(number) for number in range(start, start + 500)))) == {None}
            assert (writer.database_up, writer.spooled) == (False, 10_000)
            server = EmbeddedPostgres(home, FAST)
            assert await asyncio.to_thread(server.start) == url
            await until(lambda: writer.spooled == 0)
            assert None not in await asyncio.gather(*(ask(number) for number in range(10_100, 10_200)))
        assert await replies(url) == expected
    finally:
        await store.close()
        await asyncio.to_thread(server.stop)


async def test_a_locked_table_is_not_waited_for(tmp_path: Path, store: PostgresStore, database_url: str) -> None:
    await store.prepare()
    locker = await asyncpg.connect(database_url)
    async with writing(tmp_path, store) as writer:
        async with locker.transaction():
            await locker.execute("LOCK TABLE messages")
            turns = [record(content=f"{number}", conversation="conv-1") for number in range(10)]
            for one in turns:
                await writer.begin(one.begun)
                assert (await writer.put(one)).message_id is None
        await until(lambda: writer.spooled == 0 and writer.database_up)
        assert (await writer.put(record(content="10", conversation="conv-1"))).message_id is not None
    await locker.close()
    assert await replies(database_url) == {"conv-1": [f"{number}" for number in range(11)]}


async def test_a_turn_that_is_in_the_database_and_in_the_journal_is_written_once(
    tmp_path: Path, store: PostgresStore, database_url: str
) -> None:
    """A process killed after PostgreSQL confirmed and before the journal forgot."""
    one = record(content="تم", conversation="conv-1")
    await store.put([one])
    async with writing(tmp_path, store, started=False) as writer:
        await writer.begin(one.begun)
        await writer.begin(begun("conv-2"))
    async with writing(tmp_path, store) as writer:
        await until(lambda: writer.spooled == 0)
    assert await replies(database_url) == {"conv-1": ["تم"], "conv-2": [""]}
    found = await store.turn(one.begun.turn_id)
    assert found is not None
    assert found.record == one


class Recorder:
    """Tells which turns a store refused, by passing every call on."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self.sizes: list[int] = []

    async def put(self, records: list[TurnRecord]) -> list[Stored]:
        self.sizes.append(len(records))
        return await self._store.put(records)

    async def ping(self) -> None:
        await self._store.ping()


async def test_a_turn_that_postgresql_refuses_is_kept_apart(
    tmp_path: Path, store: PostgresStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(store)
    async with writing(tmp_path, recorder) as writer:
        turns = [record(content=f"{number}", conversation=f"conv-{number}") for number in range(15)]
        poison = record(content="قبل\x00بعد", conversation="conv-poison")
        receipts = await asyncio.gather(*(writer.put(one) for one in [*turns[:7], poison, *turns[7:]]))
        assert [receipt.message_id is None for receipt in receipts] == [number == 7 for number in range(16)]
        assert (writer.refused, writer.spooled, writer.database_up) == (1, 0, True)
    assert sum(size == 1 for size in recorder.sizes) == 2, "halved until it stood alone"
    assert any(poison.begun.turn_id in line.getMessage() for line in caplog.records)
    assert len(await replies(database_url)) == 15
