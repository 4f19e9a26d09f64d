"""A writer whose database is away, hangs or comes back, and whose journal may fail besides."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.turn import TurnRecord
from gateway.store.base import Receipt, StoreUnavailable
from gateway.store.drain import Pace
from gateway.store.journal import Journal
from gateway.store.writer import NotLogged
from tests.store.journal_turns import FakeStore, begun, record
from tests.store.writing import PLENTY, texts, until, writing


def away(_records: Sequence[TurnRecord]) -> Exception:
    return StoreUnavailable("connection refused")


def there(_records: Sequence[TurnRecord]) -> None:
    return None


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


async def test_a_newer_turn_goes_behind_the_waiting_ones_of_its_conversation_only(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = away
        await writer.put(record(content="1", conversation="conv-old"))
        await until(lambda: not writer.database_up)
        store.script = there
        store.gate.clear()
        await store.until(lambda: store.under_way == 1)  # the drain writes it
        behind = await writer.put(record(content="2", conversation="conv-old"))
        assert behind.message_id is None
        store.gate.set()
        await until(lambda: writer.spooled == 0)
        assert texts(store) == ["1", "2"]


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


async def test_ten_thousand_waiting_turns_are_written_in_order_each_once(tmp_path: Path, store: FakeStore) -> None:
    expected: dict[str, list[str]] = defaultdict(list)
    async with writing(tmp_path, store) as writer:
        store.script = away
        for start in range(0, 10_000, 1000):
            puts = []
            for number in range(start, start + 1000):
                conversation = f"conv-{number * 7919 % 3000}"
                expected[conversation].append(f"{number}")
                puts.append(asyncio.create_task(writer.put(record(content=f"{number}", conversation=conversation))))
            await asyncio.gather(*puts)
        assert writer.spooled == 10_000
        store.calls.clear()
        store.script = there
        await until(lambda: writer.spooled == 0)
    written = [one for call in store.calls for one in call if one.begun.turn_id in store.rows]
    got: dict[str, list[str]] = defaultdict(list)
    for one in store.rows.values():
        got[one.begun.conversation_id].append(one.ended.reply.content)
    assert got == expected
    assert len(written) <= 10_000 + 2 * 256, "no turn is sent again once it is in"
    assert max(map(len, store.calls)) <= 256
    assert list(tmp_path.iterdir()) == []


async def test_it_starts_without_a_database_and_writes_what_it_finds(tmp_path: Path, store: FakeStore) -> None:
    for name in ("0", "1"):
        left = await Journal.open(tmp_path, name, max_bytes=PLENTY)
        await left.begin(begun(f"conv-{name}-running"))
        await left.end(record(conversation=f"conv-{name}", content="قديم"))
        await left.close()
    store.script = away
    async with writing(tmp_path, store) as writer:
        assert writer.spooled == 4
        await until(lambda: not writer.database_up)
        assert (await writer.put(record(conversation="conv-1", content="جديد"))).message_id is None
        store.script = there
        await until(lambda: writer.spooled == 0)
    statuses = {one.begun.conversation_id: one.ended.status for one in store.rows.values()}
    assert statuses["conv-0-running"] == statuses["conv-1-running"] == "interrupted"
    assert [one.ended.reply.content for one in store.rows.values() if one.begun.conversation_id == "conv-1"] == ["قديم", "جديد"]


async def test_before_it_is_known_what_is_left_turns_go_behind_it(tmp_path: Path, store: FakeStore) -> None:
    left = await Journal.open(tmp_path, "1", max_bytes=PLENTY)
    await left.end(record(conversation="conv-1", content="قديم"))
    await left.close()
    async with writing(tmp_path, store, started=False) as writer:
        writer.start()
        assert (await writer.put(record(conversation="conv-1", content="جديد"))).message_id is None
        await until(lambda: writer.spooled == 0 and len(store.rows) == 2)
    assert texts(store) == ["قديم", "جديد"]


class BrokenDisk:
    def __init__(self) -> None:
        self.broken = False

    def sync(self, descriptor: int) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)


@pytest.mark.parametrize("back", ["journal", "database"])
async def test_while_both_fail_a_turn_waits_for_either(tmp_path: Path, store: FakeStore, back: str) -> None:
    disk = BrokenDisk()
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
    disk = BrokenDisk()
    async with writing(tmp_path, store, sync=disk.sync, give_up_s=0.01) as writer:
        store.script, disk.broken = away, True
        with pytest.raises(NotLogged):
            await writer.put(record(content="باق"))
        store.script = there
        await until(lambda: texts(store) == ["باق"])


async def test_a_turn_that_nobody_took_is_named_at_the_end(
    tmp_path: Path, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    disk = BrokenDisk()
    one = record()
    async with writing(tmp_path, store, sync=disk.sync) as writer:
        store.script, disk.broken = away, True
        put = asyncio.create_task(writer.put(one))
        await until(lambda: writer.spooled == 1)
        await writer.close(0)
        with pytest.raises(NotLogged):
            await put
    assert any(one.begun.turn_id in line.getMessage() and line.levelname == "ERROR" for line in caplog.records)
