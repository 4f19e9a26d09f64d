"""The schema on an empty database, and over the tables of the older server while that one goes on writing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.core.history import NO_RESULT
from gateway.core.messages import AssistantMessage, TextPart, ToolCall, ToolResult, ToolResults, UserMessage
from gateway.store.base import ConversationFilter, Stored, StoreUnavailable, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.migrate import SCHEMA_DIR, MigrationError, migrate
from gateway.store.postgres import PostgresStore
from tests.store.older_server import CONVERSATION, HABITS, MESSAGE, TABLES, USER, OlderServer, fill
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
NAMES = sorted(path.stem for path in SCHEMA_DIR.glob("*.sql"))

OLDER_ROWS = """
INSERT INTO users (auth_provider, google_id, email, created_at, is_active, daily_requests)
    VALUES ('google', 'g-1', 'سلمى@example.org', '2025-01-02 03:04:05', true, 3);
INSERT INTO conversations VALUES ('conv-old', 'openai', '2025-01-02 03:04:05.678901');
INSERT INTO conversations VALUES ('conv-empty', 'claude', '2025-01-01 00:00:00');
INSERT INTO messages (conversation_id, role, content, timestamp) VALUES
    ('conv-old', 'user', 'ما معنى كِتاب؟', '2025-01-02 03:04:06'), ('conv-old', 'assistant', '', '2025-01-02 03:04:07'),
    ('conv-old', 'assistant', 'ما يُكتب فيه 📖', '2025-01-02 03:04:08.5');
INSERT INTO tool_calls (message_id, tool_name, arguments, result, timestamp)
    VALUES (2, 'get_entry', '{"id": 7}', '{"معنى": "كتاب"}', '2025-01-02 03:04:07');
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_an_empty_database_gets_everything_once(empty_database_url: str) -> None:
    dsn = parse_dsn(empty_database_url)
    assert await migrate(dsn) == NAMES
    assert await migrate(dsn) == []
    async with connected(empty_database_url) as connection:
        applied = await connection.fetch("SELECT version, applied_at IS NOT NULL FROM schema_migrations ORDER BY 1")
    assert [tuple(row) for row in applied] == [(name, True) for name in NAMES]


async def test_replicas_that_start_together_apply_each_file_once(empty_database_url: str) -> None:
    dsn = parse_dsn(empty_database_url)
    applied = await asyncio.gather(*(migrate(dsn) for _ in range(6)))
    assert sorted(name for names in applied for name in names) == NAMES


async def test_an_older_database_is_taken_over_with_what_is_in_it(empty_database_url: str) -> None:
    async with connected(empty_database_url) as connection:
        await connection.execute(TABLES + OLDER_ROWS)
    await migrate(parse_dsn(empty_database_url))
    store = PostgresStore(parse_dsn(empty_database_url))
    try:
        page = await store.conversations(ADMIN, ConversationFilter())
        assert [(c["id"], c["updated_at"], c["message_count"], c["user_id"]) for c in page.conversations] == [
            ("conv-old", "2025-01-02T03:04:08.500Z", 3, None),
            ("conv-empty", "2025-01-01T00:00:00.000Z", 0, None),
        ]
        call = ToolCall("1", "get_entry", {"id": 7})
        assert await store.history("conv-old", ADMIN, 100) == (
            UserMessage((TextPart("ما معنى كِتاب؟"),)),
            AssistantMessage("", (call,)),
            ToolResults((ToolResult("1", "get_entry", '{"معنى": "كتاب"}'),)),
            AssistantMessage("ما يُكتب فيه 📖"),
        )
        shown = await store.conversation("conv-old", ADMIN)
        assert shown is not None
        assert shown["messages"][1]["tool_calls"] == [
            {"id": "1", "tool_name": "get_entry", "arguments": '{"id": 7}', "result": '{"معنى": "كتاب"}'}
        ]
        assert await store.history("conv-old", Viewer(None), 100) == (), "what came before is an admin's to read"
        record = turn("conv-old", "ثم؟", "ثم ماذا", caller="user:1", tool_calls=(call,))
        [stored] = await store.put([record])
        assert stored.message_id == 5
        found = await store.turn(record.begun.turn_id)
        assert found is not None
        assert found.record == record
        assert (await store.history("conv-old", ADMIN, 100))[4:] == (
            UserMessage((TextPart("ثم؟"),)),
            AssistantMessage("ثم ماذا", (call,)),
            ToolResults((ToolResult("1", "get_entry", NO_RESULT),)),
        )
        assert await store.delete_conversation("conv-old", ADMIN)
        assert await store.conversation("conv-old", ADMIN) is None
    finally:
        await store.close()


async def test_the_older_server_may_go_on_writing_meanwhile(empty_database_url: str) -> None:
    """Whatever the order in which it takes its locks: nothing of it is refused or lost, and its ids keep counting."""
    async with connected(empty_database_url) as older:
        await older.execute(TABLES)
        await fill(older, 2000)
    workers = [OlderServer(empty_database_url, str(number), HABITS[number % 3]) for number in range(6)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    await asyncio.gather(*(worker.wrote.wait() for worker in workers))
    store = PostgresStore(parse_dsn(empty_database_url))
    try:
        await store.prepare()
        for worker in workers:
            worker.wrote.clear()
        ours = [await store.put([turn(f"older-{number % 3}-0" if number % 2 else f"ours-{number}")]) for number in range(12)]
        await asyncio.gather(*(worker.wrote.wait() for worker in workers))
        for worker in workers:
            worker.stopping = True
        await asyncio.gather(*running)
        assert [worker.errors for worker in workers] == [[]] * 6
        await check_written(store, empty_database_url, workers, ours)
    finally:
        await store.close()


async def check_written(store: PostgresStore, url: str, workers: list[OlderServer], ours: list[list[Stored]]) -> None:
    chats = [chat for worker in workers for chat in worker.chats]
    written = [message_id for chat in chats for message_id in chat.messages]
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT id FROM messages WHERE id > 2000 AND turn_id IS NULL ORDER BY id")
        calls = await connection.fetch("SELECT id FROM tool_calls WHERE id > 400 AND call_id IS NULL ORDER BY id")
        [asked] = await connection.fetch("SELECT daily_requests FROM users WHERE id = 1")
        assert await connection.fetchval("SELECT count(*) FROM messages") == 2000 + len(written) + 2 * len(ours)
    assert [row["id"] for row in rows] == sorted(written)
    assert [row["id"] for row in calls] == sorted(call_id for chat in chats for call_id in chat.calls)
    assert asked["daily_requests"] > 0
    assert not {place.message_id for [place] in ours} & set(written)
    newest = workers[0].chats[-1]
    shown = await store.conversation(newest.conversation_id, ADMIN)
    assert shown is not None
    assert {str(message_id) for message_id in newest.messages} <= {message["id"] for message in shown["messages"]}
    assert len(await store.history(newest.conversation_id, ADMIN, 100)) >= 4
    page = await store.conversations(ADMIN, ConversationFilter(limit=500))
    assert {chat.conversation_id for chat in chats} <= {conversation["id"] for conversation in page.conversations}


async def test_what_the_older_server_adds_counts_as_activity(empty_database_url: str) -> None:
    async with connected(empty_database_url) as older:
        await older.execute(TABLES)
        await fill(older, 100)
        await migrate(parse_dsn(empty_database_url))
        store = PostgresStore(parse_dsn(empty_database_url))
        try:
            assert (await store.conversations(ADMIN, ConversationFilter())).conversations[0]["id"] == "conv-10"
            await OlderServer(empty_database_url, "1", "user last").chat(older, "conv-1")
            await older.execute(
                MESSAGE, "conv-2", "user", "رسالة قديمة تُنقَل", datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)
            )
            page = await store.conversations(ADMIN, ConversationFilter())
            assert [conversation["id"] for conversation in page.conversations[:2]] == ["conv-1", "conv-10"]
            assert await store.expire(30) == 9
            assert await store.conversation("conv-1", ADMIN) is not None
        finally:
            await store.close()


async def test_a_transaction_of_the_older_server_is_waited_for_in_short_turns(empty_database_url: str) -> None:
    """Others of it are never kept waiting for long, and what was begun is not lost."""
    async with connected(empty_database_url) as slow, connected(empty_database_url) as other:
        await slow.execute(TABLES + OLDER_ROWS)
        open_chat = slow.transaction()
        await open_chat.start()
        await slow.execute(CONVERSATION, "conv-open", "openai", datetime(2025, 1, 3, tzinfo=UTC).replace(tzinfo=None))
        migrating = asyncio.create_task(migrate(parse_dsn(empty_database_url)))
        async with asyncio.timeout(30):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
            chat = await OlderServer(empty_database_url, "other", "user first").chat(other, "conv-other")
        assert not migrating.done()
        await slow.fetch(USER, 1)
        await open_chat.commit()
        assert await migrating == NAMES
        assert await other.fetchval("SELECT count(*) FROM messages WHERE conversation_id = 'conv-other'") == len(chat.messages)


async def test_a_file_that_fails_leaves_nothing_behind_and_names_itself(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good (id integer);")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half (id integer); SELECT nonsense;")
    (tmp_path / "notes.txt").write_text("not a migration")
    dsn = parse_dsn(empty_database_url)
    with pytest.raises(MigrationError, match=r"schema/0002_bad\.sql.*nonsense"):
        await migrate(dsn, tmp_path)
    async with connected(empty_database_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE whole (id integer);")
    assert await migrate(dsn, tmp_path) == ["0002_bad"]


async def test_a_database_that_forbids_it_says_so(postgres_url: str, empty_database_url: str) -> None:
    async with connected(postgres_url) as connection:
        await connection.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
    dsn = parse_dsn(empty_database_url.replace("postgres@", "reader@"))
    with pytest.raises(MigrationError, match="permission denied"):
        await migrate(dsn)
    store = PostgresStore(dsn)
    with pytest.raises(StoreUnavailable, match="permission denied"):
        await store.put([turn()])
    await store.close()


async def test_both_ways_lead_to_the_same_columns(postgres_url: str, database_url: str, empty_database_url: str) -> None:
    async with connected(empty_database_url) as connection:
        await connection.execute(TABLES + OLDER_ROWS)
    await migrate(parse_dsn(empty_database_url))
    found = []
    for url in (database_url, empty_database_url):
        async with connected(url) as connection:
            rows = await connection.fetch(
                "SELECT table_name, column_name, replace(data_type, 'bigint', 'integer') FROM information_schema.columns"
                " WHERE table_schema = 'public' ORDER BY 1, 2"
            )
            found.append([tuple(row) for row in rows])
    assert found[0] == found[1]
