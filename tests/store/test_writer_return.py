"""The way back: a writer whose database returns, and one that starts on what others left."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.turn import TurnRecord
from gateway.store.base import StoreRefused
from gateway.store.drain import Pace
from gateway.store.journal import Journal
from tests.store.journal_turns import FakeStore, begun, record
from tests.store.writing import PLENTY, away, texts, there, until, writing


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


async def test_a_database_that_returns_is_not_stormed(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = away
        await asyncio.gather(*(writer.put(record()) for _ in range(600)))
        await store.until(lambda: len(store.calls) > 12)
        store.script, store.most_under_way = there, 0
        await until(lambda: writer.spooled == 0)
        assert store.taken == [1, 2, 4, 8, 16, 32, 64, 128, 256, 89]
        assert store.most_under_way == 1


async def test_a_newer_turn_goes_behind_the_waiting_ones_of_its_conversation_only(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=20) as writer:
        store.script = away
        await writer.put(record(content="1"))
        await writer.put(record(content="2", conversation="conv-old"))
        await store.until(lambda: len(store.calls) > 12)
        store.gate.clear()
        store.held = lambda records: records[0].begun.conversation_id == "conv-old"
        store.script = there
        await until(lambda: writer.database_up and store.under_way == 1)
        assert (await writer.put(record(content="3", conversation="conv-old"))).message_id is None
        assert (await writer.put(record(content="4"))).message_id is not None
        store.gate.set()
        await until(lambda: writer.spooled == 0)
        assert texts(store) == ["1", "4", "2", "3"]
        assert (await writer.put(record(conversation="conv-old"))).message_id == 5


async def test_a_conversation_with_waiting_turns_is_known_to_be_incomplete(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        await writer.put(record(conversation="conv-1"))
        assert await writer.caught_up("conv-1")
        store.script = away
        await writer.put(record(conversation="conv-1"))
        assert not await writer.caught_up("conv-1")
        assert await writer.caught_up("conv-2")
        store.script = there
        await until(lambda: writer.database_up)
        assert await writer.caught_up("conv-1")


async def test_who_reads_a_conversation_waits_for_what_is_on_its_way(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=0.01) as writer:
        store.gate.clear()
        assert (await writer.put(record(conversation="conv-1"))).message_id is None
        reading = asyncio.create_task(writer.caught_up("conv-1"))
        await store.until(lambda: store.under_way > 0)
        assert not reading.done()
        store.gate.set()
        assert await reading


async def test_a_hanging_statement_that_comes_back_ends_the_waiting(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=0.01, pace=Pace(first_s=100, longest_s=100)) as writer:
        store.gate.clear()
        store.held = lambda _records: len(store.calls) == 1
        store.script = lambda records: None if store.gate.is_set() else away(records)
        assert (await writer.put(record(content="1"))).message_id is None
        await until(lambda: len(store.calls) == 2 and store.under_way == 1)
        store.gate.set()
        await until(lambda: writer.spooled == 0 and writer.database_up)
        assert texts(store) == ["1"]


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
        await writer.start(patience_s=0)
        assert (await writer.put(record(conversation="conv-1", content="جديد"))).message_id is None
        await until(lambda: writer.spooled == 0 and len(store.rows) == 2)
    assert texts(store) == ["قديم", "جديد"]


async def test_conversations_are_not_held_up_by_waiting_turns_that_a_damaged_file_lost(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, pace=Pace(first_s=0.05, longest_s=0.05)) as writer:
        store.script = away
        for number in range(40):
            await writer.put(record(content="ن" * 100_000, conversation=f"conv-{number}"))
        path = tmp_path / "0.sqlite"
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(b"\xff" * (size // 4))
        store.script = there
        await until(lambda: writer.spooled == 0)
        assert 5 < len(store.rows) < 40
        later = await asyncio.gather(*(writer.put(record(conversation=f"conv-{number}")) for number in range(40)))
        assert all(receipt.message_id for receipt in later)


async def test_refusals_are_not_looked_into_further_once_the_database_is_away(tmp_path: Path, store: FakeStore) -> None:
    def refused_then_away(records: Sequence[TurnRecord]) -> Exception | None:
        return StoreRefused("22021") if len(records) > 1 else away(records)

    async with writing(tmp_path, store, pace=Pace(first_s=100, longest_s=100)) as writer:
        store.script = refused_then_away
        await asyncio.gather(*(writer.put(record()) for _ in range(8)))
        assert [len(call) for call in store.calls[:4]] == [8, 4, 2, 1]
        assert (writer.spooled, writer.refused) == (8, 0)
        assert len(store.calls) <= 8, "and once more by the drain"


async def test_an_error_that_nobody_foresaw_does_not_end_the_way_back(
    tmp_path: Path, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.script = lambda records: away(records) if records else RuntimeError("a mistake of ours")
    async with writing(tmp_path, store) as writer:
        await until(lambda: any("nobody foresaw" in line.getMessage() for line in caplog.records))
        assert (await writer.put(record(content="1"))).message_id is None
        store.script = there
        await until(lambda: writer.spooled == 0)
        assert texts(store) == ["1"]
