"""The schema on an empty database, and over the tables of the older server while that one goes on writing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.core.history import NO_RESULT
from gateway.core.messages import AssistantMessage, TextPart, ToolCall, ToolResult, ToolResults, UserMessage
from gateway.store.base import ConversationFilter, StoreUnavailable, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.migrate import SCHEMA_DIR, MigrationError, migrate
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
NAMES = sorted(path.stem for path in SCHEMA_DIR.glob("*.sql"))

# What SQLAlchemy made for the older server: defaults live in its Python, not in the tables.
OLDER_TABLES = """
CREATE TABLE users (
    id SERIAL NOT NULL, auth_provider VARCHAR NOT NULL, google_id VARCHAR, apple_id VARCHAR, email VARCHAR,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, last_used TIMESTAMP WITHOUT TIME ZONE, is_active BOOLEAN NOT NULL,
    daily_requests INTEGER NOT NULL, daily_reset_date DATE, PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_users_google_id ON users (google_id);
CREATE UNIQUE INDEX ix_users_apple_id ON users (apple_id);
CREATE TABLE conversations (
    id VARCHAR NOT NULL, provider VARCHAR NOT NULL, created_at TIMESTAMP WITHOUT TIME ZONE, PRIMARY KEY (id)
);
CREATE INDEX ix_conversations_id ON conversations (id);
CREATE TABLE messages (
    id SERIAL NOT NULL, conversation_id VARCHAR NOT NULL, role VARCHAR NOT NULL, content TEXT NOT NULL,
    timestamp TIMESTAMP WITHOUT TIME ZONE, PRIMARY KEY (id), FOREIGN KEY(conversation_id) REFERENCES conversations (id)
);
CREATE TABLE tool_calls (
    id SERIAL NOT NULL, message_id INTEGER NOT NULL, tool_name VARCHAR NOT NULL, arguments TEXT NOT NULL, result TEXT,
    timestamp TIMESTAMP WITHOUT TIME ZONE, PRIMARY KEY (id), FOREIGN KEY(message_id) REFERENCES messages (id)
);
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
OLDER_CONVERSATION = "INSERT INTO conversations (id, provider, created_at) VALUES ($1, 'openai', now() AT TIME ZONE 'utc')"
OLDER_MESSAGE = """INSERT INTO messages (conversation_id, role, content, timestamp)
VALUES ($1, 'user', 'سؤال', now() AT TIME ZONE 'utc') RETURNING id"""
OLDER_CALL = """INSERT INTO tool_calls (message_id, tool_name, arguments, result, timestamp)
VALUES ($1, 'search', '{}', NULL, now() AT TIME ZONE 'utc')"""


async def older_server_writes(connection: Any, conversation: str) -> int:
    """One conversation with a message and a call, as the older server makes them; its message's id."""
    async with connection.transaction():
        await connection.execute(OLDER_CONVERSATION, conversation)
        message_id = await connection.fetchval(OLDER_MESSAGE, conversation)
        await connection.execute(OLDER_CALL, message_id)
    return int(message_id)


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
        await connection.execute(OLDER_TABLES)
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
    written: dict[str, int] = {}
    stop, started = asyncio.Event(), asyncio.Event()

    async def write(connection: Any) -> None:
        name = f"older-{len(written)}"
        written[name] = await older_server_writes(connection, name)

    async def go_on() -> None:
        async with connected(empty_database_url) as connection:
            while not stop.is_set():
                await write(connection)
                started.set()

    store = PostgresStore(parse_dsn(empty_database_url))
    async with connected(empty_database_url) as older:
        await older.execute(OLDER_TABLES)
        running = asyncio.create_task(go_on())
        await started.wait()
        await store.prepare()
        ours = [await store.put([turn(f"ours-{number}")]) for number in range(20)]
        await store.put([turn("older-0")])
        stop.set()
        await running
        await write(older)
    page = await store.conversations(ADMIN, ConversationFilter(limit=500))
    await store.close()
    assert set(written) <= {conversation["id"] for conversation in page.conversations}
    assert all(conversation["updated_at"] for conversation in page.conversations)
    assert not {place.message_id for [place] in ours} & set(written.values())


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
        await connection.execute(OLDER_TABLES)
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
