"""Turns go into PostgreSQL whole, once, and come out as they were."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from gateway.core.messages import ToolCall, ToolResult
from gateway.store.base import Stored, StoreRefused
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.store.samples import changed, rich_turn, turn


async def rows(url: str, statement: str, *arguments: object) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def test_a_turn_comes_back_as_it_was(store: PostgresStore) -> None:
    record = rich_turn()
    [stored] = await store.put([record])
    found = await store.turn(record.begun.turn_id)
    assert found is not None
    assert found.record == record
    assert found.message_id == stored.message_id
    assert stored.conversation_id == "conv-1"


@pytest.mark.parametrize(
    "content", ["", "قُلْ هُوَ اللَّهُ أَحَدٌ", "👩🏽‍🚀🇵🇸 \u200f\ufeff", "س" * 1_000_000, "\ufffd'\"\\; DROP TABLE messages"]
)
async def test_any_text_comes_back_unchanged(store: PostgresStore, content: str) -> None:
    record = turn(question=content, content=content)
    await store.put([record])
    found = await store.turn(record.begun.turn_id)
    assert found is not None
    assert found.record == record


async def test_one_question_row_one_reply_row_and_the_calls_in_order(store: PostgresStore, database_url: str) -> None:
    record = rich_turn()
    [stored] = await store.put([record])
    written = await rows(database_url, "SELECT id, role, content FROM messages ORDER BY id")
    assert [row[1:] for row in written] == [("user", "ما هذا؟"), ("assistant", record.ended.reply.content)]
    assert written[1][0] == stored.message_id
    calls = await rows(
        database_url, "SELECT message_id, tool_name, arguments, arguments_text, result FROM tool_calls ORDER BY id"
    )
    assert calls == [
        (stored.message_id, "get_entry", '{"id":7,"كلمة":"كِتاب","weights":[0.1,1e-9,12345678901234567]}', None, None),
        (stored.message_id, "search", "{}", "ليس JSON", None),
    ]


async def test_a_follow_up_has_no_question_row(store: PostgresStore, database_url: str) -> None:
    record = turn(question=None, tool_results=(ToolResult("call_9", "get_entry", "x"),))
    await store.put([record])
    assert await rows(database_url, "SELECT role FROM messages") == [("assistant",)]
    found = await store.turn(record.begun.turn_id)
    assert found is not None
    assert found.record == record


async def test_the_operators_queries_work_as_printed(store: PostgresStore, database_url: str) -> None:
    for record in (turn("your-id", "أول", "واحد"), turn("your-id", "ثان", "اثنان"), turn("other")):
        await store.put([record])
    listed = await rows(database_url, "SELECT id, provider, created_at FROM conversations ORDER BY created_at DESC LIMIT 10")
    assert [row[:2] for row in listed] == [("other", "openai"), ("your-id", "openai")]
    messages = await rows(
        database_url, "SELECT role, content, timestamp FROM messages WHERE conversation_id = 'your-id' ORDER BY timestamp"
    )
    assert [row[:2] for row in messages] == [("user", "أول"), ("assistant", "واحد"), ("user", "ثان"), ("assistant", "اثنان")]


@pytest.mark.parametrize("ended_after", [0, -5000, 1])
async def test_a_reply_is_later_than_its_question_whatever_the_clock_did(
    store: PostgresStore, database_url: str, ended_after: int
) -> None:
    record = turn()
    record = changed(record, ended_ms=record.begun.started_ms + ended_after)
    await store.put([record])
    [(asked, answered)] = await rows(
        database_url, "SELECT min(timestamp) FILTER (WHERE role = 'user'), max(timestamp) FROM messages"
    )
    assert answered > asked  # type: ignore[operator]
    found = await store.turn(record.begun.turn_id)
    assert found is not None
    assert found.record == record


async def test_a_repeat_changes_nothing_and_gives_the_same_answer(store: PostgresStore, database_url: str) -> None:
    record = rich_turn()
    first = await store.put([record])
    assert await store.put([record]) == first
    assert await rows(database_url, "SELECT count(*) FROM messages") == [(2,)]
    assert await rows(database_url, "SELECT count(*) FROM tool_calls") == [(2,)]


async def test_turns_that_end_together_are_answered_in_the_order_given(store: PostgresStore) -> None:
    records = [turn(f"conv-{number}") for number in (5, 1, 9, 0, 3)]
    [again] = await store.put([records[2]])
    stored = await store.put(records)
    assert [place.conversation_id for place in stored] == [record.begun.conversation_id for record in records]
    assert stored[2] == again
    for record, place in zip(records, stored, strict=True):
        found = await store.turn(record.begun.turn_id)
        assert found is not None
        assert (found.record, found.message_id) == (record, place.message_id)


async def test_results_go_into_the_newest_open_call_of_that_id(store: PostgresStore, database_url: str) -> None:
    for _ in range(2):
        await store.put([turn(tool_calls=(ToolCall("call_1", "get_entry", {}), ToolCall("call_2", "search", {})))])
    await store.put([turn("other", tool_calls=(ToolCall("call_1", "get_entry", {}),))])
    results = (ToolResult("call_1", "get_entry", '{"معنى": 1}'), ToolResult("call_2", "search", "لا شيء"))
    follow_up = turn(question=None, tool_results=results)
    await store.put([follow_up])
    await store.put([follow_up])
    written = await rows(database_url, "SELECT result FROM tool_calls ORDER BY id")
    assert [row[0] for row in written] == [None, None, '{"معنى": 1}', '"لا شيء"', None]
    await store.put([turn(question=None, tool_results=(ToolResult("call_2", "search", "أخيرًا"),))])
    written = await rows(database_url, "SELECT result FROM tool_calls ORDER BY id")
    assert [row[0] for row in written] == [None, '"أخيرًا"', '{"معنى": 1}', '"لا شيء"', None]


async def test_another_callers_conversation_gets_nothing(store: PostgresStore, database_url: str) -> None:
    await store.put([turn(caller="user:1")])
    intruding = turn(caller="user:2")
    plain = turn("conv-2", caller="user:2")
    stored = await store.put([intruding, plain])
    assert stored[0].conversation_id not in ("conv-1", "conv-2")
    assert stored[1].conversation_id == "conv-2"
    assert await store.put([plain, intruding]) == [stored[1], stored[0]]
    found = await store.turn(intruding.begun.turn_id)
    assert found is not None
    assert found.record.begun == replace(intruding.begun, conversation_id=stored[0].conversation_id)
    owners = await rows(database_url, "SELECT owner, count(*) FROM conversations GROUP BY owner ORDER BY owner")
    assert owners == [("user:1", 1), ("user:2", 2)]
    [nobody] = await store.put([turn(caller=None)])
    assert nobody.conversation_id != "conv-1"


async def test_anyone_may_add_to_a_conversation_without_owner(store: PostgresStore, database_url: str) -> None:
    await store.put([turn()])
    [stored] = await store.put([turn(caller="user:1")])
    assert stored.conversation_id == "conv-1"
    assert await rows(database_url, "SELECT owner FROM conversations") == [(None,)]


@pytest.mark.parametrize(
    "refused",
    [
        {"content": "\x00"},
        {"started_ms": 1 << 62},
        {"turn_id": "no uuid"},
        {"question_parts": "{"},
    ],
)
async def test_data_that_postgres_refuses_is_told_apart(store: PostgresStore, database_url: str, refused: dict[str, Any]) -> None:
    with pytest.raises(StoreRefused):
        await store.put([turn("conv-1"), turn("conv-2", **refused)])
    assert await rows(database_url, "SELECT count(*) FROM messages") == [(0,)]
    await store.put([turn("conv-1")])


async def test_many_processes_at_once_lose_and_double_nothing(database_url: str) -> None:
    """Four stores, each with its own connections, put overlapping batches: of the same conversations, and the same turns."""
    stores = [PostgresStore(parse_dsn(database_url)) for _ in range(4)]
    shared = [turn(f"conv-{number}") for number in range(20)]
    own = [[turn(f"conv-{number}") for number in range(20)] for _ in stores]
    try:
        results = await asyncio.gather(
            *(store.put(shared if number % 2 else shared[::-1]) for number, store in enumerate(stores)),
            *(store.put(batch[number:] + batch[:number]) for number, (store, batch) in enumerate(zip(stores, own, strict=True))),
        )
    finally:
        await asyncio.gather(*(store.close() for store in stores))
    first, second, third, fourth = results[:4]
    assert first == third == second[::-1] == fourth[::-1]
    assert all(isinstance(place, Stored) and place.message_id for answers in results for place in answers)
    assert await rows(database_url, "SELECT count(*), count(DISTINCT turn_id) FROM messages") == [(200, 100)]
    assert await rows(database_url, "SELECT count(*) FROM conversations") == [(20,)]
