"""A writer whose database is away, hangs or comes back, and whose journal may fail besides."""

import asyncio
import os
from pathlib import Path

import pytest

from gateway.store.base import Receipt
from gateway.store.drain import Pace
from gateway.store.pending import NotLogged
from tests.store.disks import Disk
from tests.store.journal_turns import FakeStore, record
from tests.store.writing import away, texts, there, until, writing


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


async def test_turns_wait_in_the_journal_and_follow_in_order(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = away
        for number in range(50):
            one = record(content=f"{number}", conversation="conv-1")
            await writer.begin(one.begun)
            assert await writer.put(one) == Receipt("conv-1", None)
        assert (writer.spooled, writer.database_up) == (50, False)
        store.script = there
        await until(lambda: writer.spooled == 0)
        assert writer.database_up
        assert texts(store) == [f"{number}" for number in range(50)]
        assert (await writer.put(record(conversation="conv-1"))).message_id == 51


async def test_while_the_database_is_known_to_be_away_no_turn_waits_for_it(tmp_path: Path, store: FakeStore) -> None:
    rare = Pace(first_s=30, longest_s=30)
    async with writing(tmp_path, store, pace=rare) as writer:
        store.script = away
        await writer.put(record())
        await until(lambda: store.under_way == 0)
        calls = len(store.calls)
        await asyncio.gather(*(writer.put(record()) for _ in range(100)))
        assert len(store.calls) <= calls + 1, "but for one look by the drain"
        assert writer.spooled == 101


async def test_a_hanging_statement_is_not_waited_for_and_may_still_succeed(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=0.01) as writer:
        store.gate.clear()
        one = record(content="1", conversation="conv-1")
        await writer.begin(one.begun)
        assert (await writer.put(one)).message_id is None
        assert not writer.database_up
        assert (await writer.put(record(content="2", conversation="conv-1"))).message_id is None
        assert store.most_under_way <= 2, "the hanging one, and one look by the drain"
        store.gate.set()
        await until(lambda: writer.spooled == 0 and writer.database_up)
        assert texts(store) == ["1", "2"]
        assert (await writer.put(record(content="3", conversation="conv-1"))).message_id == 3


async def test_a_database_that_always_hangs_costs_a_bounded_number_of_statements(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=0.005, pace=Pace(0.001, 0.002, try_s=0.005)) as writer:
        store.gate.clear()
        for _ in range(30):
            await asyncio.gather(*(writer.put(record()) for _ in range(10)))
        assert store.most_under_way <= 3
        assert writer.spooled == 300
        store.gate.set()
        await until(lambda: writer.spooled == 0)
        assert len(store.rows) == 300


async def test_in_a_hurry_a_hanging_statement_is_not_waited_for_long(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=1000) as writer, asyncio.timeout(60):
        store.gate.clear()
        one = asyncio.create_task(writer.put(record(content="1")))
        await until(lambda: store.under_way == 1)
        writer.hurry()
        assert (await one).message_id is None
        assert (await writer.put(record(content="2"))).message_id is None
        assert writer.spooled == 2


@pytest.mark.parametrize("back", ["journal", "database"])
async def test_while_both_fail_a_turn_waits_for_either(tmp_path: Path, store: FakeStore, back: str) -> None:
    disk = Disk()
    async with writing(tmp_path, store, sync=disk.sync) as writer:
        store.script, disk.broken = away, True
        puts = [asyncio.create_task(writer.put(record(content=f"{number}", conversation="conv-1"))) for number in range(3)]
        await until(lambda: not writer.journal_ok and writer.spooled > 0)
        assert not any(put.done() for put in puts)
        if back == "journal":
            disk.broken = False
            assert [receipt.message_id for receipt in await asyncio.gather(*puts)] == [None] * 3
        else:
            store.script = there
            await asyncio.gather(*puts)
        store.script, disk.broken = there, False
        await until(lambda: len(store.rows) == 3 and writer.spooled == 0)
        assert texts(store) == ["0", "1", "2"]


async def test_while_both_fail_the_asker_is_told_at_last_and_the_turn_still_tried(tmp_path: Path, store: FakeStore) -> None:
    disk = Disk()
    async with writing(tmp_path, store, sync=disk.sync, give_up_s=0.01) as writer:
        store.script, disk.broken = away, True
        with pytest.raises(NotLogged):
            await writer.put(record(content="باق"))
        store.script = there
        await until(lambda: texts(store) == ["باق"])


async def test_a_turn_that_nobody_took_is_named_at_the_end(
    tmp_path: Path, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    one = record()
    async with writing(tmp_path, store, sync=disk.sync) as writer:
        store.script, disk.broken = away, True
        put = asyncio.create_task(writer.put(one))
        await until(lambda: writer.spooled == 1)
        await writer.close(0)
        with pytest.raises(NotLogged):
            await put
    assert any(one.begun.turn_id in line.getMessage() and line.levelname == "ERROR" for line in caplog.records)


async def test_what_is_stuck_gets_another_chance_at_the_end(tmp_path: Path, store: FakeStore) -> None:
    disk = Disk()
    async with writing(tmp_path, store, sync=disk.sync, pace=Pace(first_s=100, longest_s=100)) as writer:
        store.script = away
        await writer.put(record(content="1"))
        disk.broken = True
        put = asyncio.create_task(writer.put(record(content="2")))
        await until(lambda: not writer.journal_ok)
        disk.broken = False
        await writer.close(1)
        assert (await put).message_id is None
        assert writer.spooled == 2


async def test_a_disk_that_fails_once_at_the_end_is_asked_again(tmp_path: Path, store: FakeStore) -> None:
    failures = [OSError(5, "Input/output error")]

    def sync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        os.fsync(descriptor)

    async with writing(tmp_path, store, sync=sync, store_wait_s=20) as writer:
        store.gate.clear()
        put = asyncio.create_task(writer.put(record()))
        await store.until(lambda: store.under_way == 1)
        await writer.close(0.01)
        assert (await put).message_id is None


async def test_turns_that_queue_too_long_behind_a_slow_database_go_to_the_journal(tmp_path: Path, store: FakeStore) -> None:
    """Every statement comes back in time, but there are more turns than it can take."""
    async with writing(tmp_path, store, store_wait_s=0.4) as writer:
        store.takes_s = 0.25
        puts = [asyncio.create_task(writer.put(record())) for _ in range(256 * 5)]
        assert {receipt.message_id for receipt in await asyncio.gather(*puts[256 * 4 :])} == {None}
        await asyncio.gather(*puts)
        store.takes_s = 0
        await until(lambda: writer.spooled == 0)
        assert len(store.rows) == 256 * 5
