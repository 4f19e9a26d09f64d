"""What was deleted stays deleted."""

import asyncio
import time

import asyncpg

from gateway.store.base import Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.store.samples import rich_turn, turn

ADMIN = Viewer(None, everything=True)


async def count(url: str, table: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_nothing_older_is_written_after_a_deletion(store: PostgresStore, database_url: str) -> None:
    stored, running = rich_turn(), turn(caller="user:7", started_ms=now_ms() - 5000)
    await store.put([stored])
    assert await store.delete_conversation("conv-1", Viewer("user:7"))
    for table in ("conversations", "messages", "tool_calls"):
        assert await count(database_url, table) == 0
    for record in (running, stored):
        [place] = await store.put([record])
        assert (place.conversation_id, place.message_id) == ("conv-1", None)
    assert await store.turn(running.begun.turn_id) is None
    assert await count(database_url, "conversations") == 0
    assert not await store.delete_conversation("conv-1", Viewer("user:7"))


async def test_a_conversation_may_begin_anew(store: PostgresStore) -> None:
    await store.put([turn(started_ms=now_ms() - 5000)])
    assert await store.delete_conversation("conv-1", ADMIN)
    [place] = await store.put([turn(started_ms=now_ms() + 1000)])
    assert place.message_id is not None


async def test_a_running_first_turn_can_be_deleted_too(store: PostgresStore) -> None:
    """The conversation is not stored yet: the answer is no, and the turn is not written all the same."""
    running = [turn(caller="user:1", started_ms=now_ms() - 5000), turn("conv-2", caller="user:1", started_ms=now_ms() - 5000)]
    assert not await store.delete_conversation("conv-1", Viewer("user:1"))
    assert not await store.delete_conversation("conv-2", Viewer("user:2"))
    first, second = await store.put(running)
    assert first.message_id is None
    assert second.message_id is not None, "nobody deletes what another caller is being told"


async def test_only_those_who_see_it_may_delete(store: PostgresStore, database_url: str) -> None:
    await store.put([turn(caller="user:1")])
    assert not await store.delete_conversation("conv-1", Viewer("user:2"))
    assert not await store.delete_conversation("conv-1", Viewer(None))
    assert await count(database_url, "messages") == 2
    assert await store.delete_conversation("conv-1", ADMIN)


async def test_graves_are_forgotten_when_nothing_can_be_older(store: PostgresStore, database_url: str) -> None:
    for name in ("conv-old", "conv-new"):
        assert not await store.delete_conversation(name, ADMIN)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "UPDATE deleted_conversations SET deleted_at = deleted_at - interval '91 days' WHERE id = 'conv-old'"
        )
        await store.forget_graves()
        assert [row["id"] for row in await connection.fetch("SELECT id FROM deleted_conversations")] == ["conv-new"]
    finally:
        await connection.close()


async def test_a_guest_takes_only_their_own_turns_along(store: PostgresStore, database_url: str) -> None:
    await store.put([turn(question="لا أحد")])
    await store.put([turn(question="ضيف", caller="user:1")])
    assert await store.delete_conversation("conv-1", Viewer("user:1"))
    shown = await store.conversation("conv-1", ADMIN)
    assert shown is not None
    assert [message["content"] for message in shown["messages"]] == ["لا أحد", "ما يُكتب فيه"]
    assert await store.conversation("conv-1", Viewer("user:1")) is None
    ghost, other = turn(caller="user:1", started_ms=now_ms() - 5000), turn(caller="user:2", started_ms=now_ms() - 5000)
    assert (await store.put([ghost]))[0].message_id is None
    assert (await store.put([other]))[0].message_id is not None


async def test_a_deletion_and_turns_being_written_meet(database_url: str) -> None:
    """However they interleave, of the turns that began before the deletion none is left."""
    stores = [PostgresStore(parse_dsn(database_url)) for _ in range(3)]
    began = now_ms() - 60_000
    try:
        await stores[0].put([turn(started_ms=began)])
        for _ in range(15):
            writing = [store.put([turn(started_ms=began + n) for n in (0,)]) for store in stores for _ in range(3)]
            results = await asyncio.gather(*writing[:5], stores[0].delete_conversation("conv-1", ADMIN), *writing[5:])
            assert results[5] in (True, False)
            assert await count(database_url, "messages") == 0
            assert await count(database_url, "conversations") == 0
    finally:
        await asyncio.gather(*(store.close() for store in stores))
