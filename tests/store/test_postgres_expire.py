"""Conversations that nobody has spoken in for a long time are deleted; nothing else is, and nothing that is being asked."""

import time

import asyncpg

from gateway.store.base import Viewer
from gateway.store.postgres import PostgresStore
from tests.store.samples import rich_turn, turn

DAY_MS = 86_400_000
ALL = Viewer(None, everything=True)


def days_ago(days: float) -> int:
    return int(time.time() * 1000 - days * DAY_MS)


async def ids(database_url: str, table: str, column: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        return {row[column] for row in await connection.fetch(f"SELECT {column} FROM {table}")}
    finally:
        await connection.close()


async def test_silent_conversations_go_with_all_that_is_in_them(store: PostgresStore, database_url: str) -> None:
    for number in range(120):
        await store.put([turn(conversation=f"old-{number}", caller="user:7", started_ms=days_ago(31))])
    old = rich_turn()
    await store.put([turn(conversation="new", started_ms=days_ago(29))])
    await store.put([old])
    assert await store.expire(30) == 121
    assert await ids(database_url, "conversations", "id") == {"new"}
    assert await ids(database_url, "messages", "conversation_id") == {"new"}
    assert await ids(database_url, "tool_calls", "id") == set()
    assert await store.expire(30) == 0


async def test_a_conversation_that_goes_on_stays_whole(store: PostgresStore) -> None:
    await store.put([turn(started_ms=days_ago(400))])
    await store.put([turn(started_ms=days_ago(1))])
    assert await store.expire(30) == 0
    found = await store.conversation("conv-1", ALL)
    assert found is not None
    assert len(found["messages"]) == 4


async def test_a_question_asked_meanwhile_is_written_all_the_same(store: PostgresStore) -> None:
    """The conversation was silent for long, and the reply to a new question is still being written when it expires."""
    await store.put([turn(started_ms=days_ago(40))])
    running = turn(started_ms=days_ago(0.001), question="وبعد؟")
    assert await store.expire(30) == 1
    [place] = await store.put([running])
    assert (place.conversation_id, place.message_id is not None) == ("conv-1", True)
    found = await store.conversation("conv-1", ALL)
    assert found is not None
    assert found["messages"][0]["content"] == "وبعد؟"


async def test_what_was_deleted_for_good_is_not_revived_by_expiry(store: PostgresStore) -> None:
    await store.put([turn(started_ms=days_ago(40))])
    waiting = turn(started_ms=days_ago(0.001))
    assert await store.delete_conversation("conv-1", ALL)
    await store.put([turn(started_ms=int(time.time() * 1000) + 60_000)])
    assert await store.expire(0) == 0
    [place] = await store.put([waiting])
    assert place.message_id is None
