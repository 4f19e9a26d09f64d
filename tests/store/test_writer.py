"""A writer whose database answers: who shares a statement with whom, in which order, and what becomes of a bad turn."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.core.turn import TurnRecord
from gateway.store import writer as writer_module
from gateway.store.base import Receipt, StoreRefused, StoreUnavailable
from gateway.store.journal import Journal
from gateway.store.pending import NotLogged
from gateway.store.writer import Writer
from tests.store.journal_turns import FakeStore, record, reply
from tests.store.writing import PLENTY, texts, until, writing


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def writer(tmp_path: Path, store: FakeStore) -> AsyncIterator[Writer]:
    async with writing(tmp_path, store, store_wait_s=20) as opened:
        yield opened


async def test_a_turn_is_stored_and_forgotten(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        one = record()
        await writer.begin(one.begun)
        writer.progress(one.begun, reply("نص"))
        assert await writer.put(one) == Receipt(one.begun.conversation_id, 1)
        assert list(store.rows.values()) == [one]
        assert (writer.database_up, writer.journal_ok, writer.spooled, writer.refused) == (True, True, 0, 0)
    assert list(tmp_path.iterdir()) == []


async def test_turns_that_end_while_statements_are_under_way_share_the_next(writer: Writer, store: FakeStore) -> None:
    store.gate.clear()
    puts = []
    for under_way in (1, 2):
        puts.append(asyncio.create_task(writer.put(record())))
        await store.until(lambda: store.under_way == under_way)  # noqa: B023
    puts += [asyncio.create_task(writer.put(record())) for _ in range(700)]
    store.gate.set()
    receipts = await asyncio.gather(*puts)
    assert [len(call) for call in store.calls] == [1, 1, 256, 256, 188]
    assert {receipt.message_id for receipt in receipts} == set(range(1, 703))
    assert store.most_under_way == 2


async def test_a_few_turns_wait_for_the_statement_under_way(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, store: FakeStore
) -> None:
    monkeypatch.setattr(writer_module, "_SLOW_S", 20.0)
    store.gate.clear()
    puts = [asyncio.create_task(writer.put(record()))]
    await store.until(lambda: store.under_way == 1)
    puts += [asyncio.create_task(writer.put(record())) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert store.under_way == 1
    store.gate.set()
    await asyncio.gather(*puts)
    assert [len(call) for call in store.calls] == [1, 5]


async def test_turns_that_end_at_the_same_moment_share_a_statement(writer: Writer, store: FakeStore) -> None:
    await asyncio.gather(*(writer.put(record()) for _ in range(50)))
    assert [len(call) for call in store.calls] == [50]


async def test_a_statement_is_bounded_in_size(writer: Writer, store: FakeStore) -> None:
    await asyncio.gather(*(writer.put(record(content="ك" * 3_000_000)) for _ in range(7)))
    assert [len(call) for call in store.calls] == [3, 3, 1]


async def test_each_conversation_keeps_its_order(writer: Writer, store: FakeStore) -> None:
    """The store holds every call to its rule, one turn a conversation."""
    chance = random.Random(7)
    expected: dict[str, list[str]] = defaultdict(list)
    puts = []
    for number in range(500):
        conversation = f"conv-{chance.randrange(20)}"
        expected[conversation].append(f"جواب {number}")
        puts.append(asyncio.create_task(writer.put(record(content=f"جواب {number}", conversation=conversation))))
        if chance.random() < 0.1:
            await asyncio.sleep(0)
    await asyncio.gather(*puts)
    written: dict[str, list[str]] = defaultdict(list)
    for one in store.rows.values():
        written[one.begun.conversation_id].append(one.ended.reply.content)
    assert written == expected


async def test_a_turn_is_written_though_its_asker_has_left(writer: Writer, store: FakeStore) -> None:
    store.gate.clear()
    put = asyncio.create_task(writer.put(record(content="وحيد")))
    await store.until(lambda: store.under_way == 1)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    store.gate.set()
    await store.until(lambda: texts(store) == ["وحيد"])


def _poison(records: Sequence[TurnRecord]) -> Exception | None:
    bad = any(one.ended.reply.content == "سم" for one in records)
    return StoreRefused("22021") if bad else None


def _mistake(records: Sequence[TurnRecord]) -> Exception | None:
    return TypeError("a mistake of ours") if _poison(records) else None


@pytest.mark.parametrize("script", [_poison, _mistake])
async def test_a_poisonous_turn_is_kept_apart_and_blocks_nobody(
    tmp_path: Path, store: FakeStore, caplog: pytest.LogCaptureFixture, script: object
) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = script  # type: ignore[assignment]
        records = [record(content="سم" if number in (3, 40) else f"{number}") for number in range(64)]
        for one in records:
            await writer.begin(one.begun)
        receipts = await asyncio.gather(*(writer.put(one) for one in records))
        assert [number for number, receipt in enumerate(receipts) if receipt.message_id is None] == [3, 40]
        assert len(store.rows) == 62
        assert (writer.spooled, writer.refused, writer.database_up) == (0, 2, True)
        for number in (3, 40):
            assert any(records[number].begun.turn_id in line.getMessage() for line in caplog.records)
        later = await writer.put(record(content="بعده", conversation=records[3].begun.conversation_id))
        assert later.message_id is not None
    store.script = lambda _records: None
    async with writing(tmp_path, store) as writer:
        await until(lambda: len(store.rows) == 65)
        await until(lambda: (writer.spooled, writer.refused) == (0, 0))


async def test_a_poisonous_turn_in_the_spool_blocks_nobody(tmp_path: Path, store: FakeStore) -> None:
    store.script = lambda _records: StoreUnavailable("away")
    async with writing(tmp_path, store) as writer:
        for number in range(20):
            await writer.put(record(content="سم" if number == 5 else f"{number}", conversation="conv-1"))
        store.script = _poison
        await until(lambda: writer.refused == 1 and writer.spooled == 0)
        assert texts(store) == [f"{number}" for number in range(20) if number != 5]
        assert (await writer.put(record(conversation="conv-1"))).message_id is not None


async def test_closing_gives_the_database_time_for_what_is_queued(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        puts = [asyncio.create_task(writer.put(record(conversation=f"conv-{number % 3}"))) for number in range(30)]
        await asyncio.sleep(0)
        await writer.close(5)
        assert all(receipt.message_id for receipt in await asyncio.gather(*puts))
        with pytest.raises(NotLogged):
            await writer.put(record())
    assert list(tmp_path.iterdir()) == []


async def test_closing_on_a_hanging_database_leaves_all_in_the_journal(tmp_path: Path, store: FakeStore) -> None:
    store.gate.clear()
    async with writing(tmp_path, store, store_wait_s=20) as writer:
        puts = [asyncio.create_task(writer.put(record(conversation=f"conv-{number % 300}"))) for number in range(900)]
        await store.until(lambda: store.under_way == 2)
        await writer.close(0.01)
        assert {receipt.message_id for receipt in await asyncio.gather(*puts)} == {None}
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    assert journal.spooled == 900
    await journal.close()
