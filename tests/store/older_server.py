"""The server that the app used before, as its database sees it: its tables, and the statements of its ORM in their order.

SQLAlchemy knows the defaults by itself, names every column of a new row, and writes parents before children. What a chat does
in one transaction or in several differed from version to version, and so did when the user's count was written.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import asyncpg

TABLES: Final = """
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
"""
FILL: Final = """
INSERT INTO users (auth_provider, google_id, email, created_at, is_active, daily_requests, daily_reset_date)
SELECT 'google', 'g-' || n, 'user' || n || '@example.org', timestamp '2025-01-01' + n * interval '1 minute', true, n % 30,
       (now() AT TIME ZONE 'utc')::date
FROM generate_series(1, greatest($1::integer / 20, 1)) AS n;
INSERT INTO conversations (id, provider, created_at)
SELECT 'conv-' || n, 'openai', timestamp '2025-01-01' + n * interval '1 minute' FROM generate_series(1, $1::integer / 10) AS n;
INSERT INTO messages (conversation_id, role, content, timestamp)
SELECT 'conv-' || (1 + (n - 1) / 10), CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
       CASE n % 2 WHEN 1 THEN 'ما معنى «كتاب»؟ ' ELSE repeat('ما يُكتَب فيه، وجمعه كُتُب. ', 12) END || n,
       timestamp '2025-01-01' + n * interval '6 seconds'
FROM generate_series(1, $1::integer) AS n;
INSERT INTO tool_calls (message_id, tool_name, arguments, result, timestamp)
SELECT id, 'search_entries', '{"word": "كتاب"}', '{"found": 3}', timestamp FROM messages WHERE id % 5 = 0;
"""
USER: Final = "SELECT users.id, users.daily_requests FROM users WHERE users.id = $1::INTEGER"
COUNT: Final = (
    "UPDATE users SET last_used=$1::TIMESTAMP WITHOUT TIME ZONE, daily_requests=$2::INTEGER WHERE users.id = $3::INTEGER"
)
KNOWN: Final = """SELECT conversations.id, conversations.provider, conversations.created_at
FROM conversations WHERE conversations.id = $1::VARCHAR"""
CONVERSATION: Final = """INSERT INTO conversations (id, provider, created_at)
VALUES ($1::VARCHAR, $2::VARCHAR, $3::TIMESTAMP WITHOUT TIME ZONE)"""
MESSAGE: Final = """INSERT INTO messages (conversation_id, role, content, timestamp)
VALUES ($1::VARCHAR, $2::VARCHAR, $3::TEXT, $4::TIMESTAMP WITHOUT TIME ZONE) RETURNING messages.id"""
CALL: Final = """INSERT INTO tool_calls (message_id, tool_name, arguments, result, timestamp)
VALUES ($1::INTEGER, $2::VARCHAR, $3::TEXT, $4::TEXT, $5::TIMESTAMP WITHOUT TIME ZONE) RETURNING tool_calls.id"""

Habit = Literal["user first", "user last", "in steps"]
HABITS: Final[tuple[Habit, ...]] = ("user first", "user last", "in steps")
NOW: Final = "SELECT now() AT TIME ZONE 'utc'"


async def fill(connection: Any, messages: int) -> None:
    """An older log of so many messages, ten to a conversation."""
    for statement in filter(str.strip, FILL.split(";\n")):
        await connection.execute(statement.replace("$1::integer", str(messages)))


@dataclass(slots=True)
class Chat:
    """What was committed of a chat: ids as the older server learnt them."""

    conversation_id: str
    messages: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)


@dataclass(slots=True)
class OlderServer:
    """One worker of it. `chats` is what it committed, `errors` what PostgreSQL refused, `slowest_s` its longest transaction."""

    url: str
    name: str
    habit: Habit
    chats: list[Chat] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    async def run(self) -> None:
        """Chat after chat, every second one in the conversation before, until `stopping`."""
        connection = await asyncpg.connect(self.url)
        try:
            for number in itertools.count():
                if self.stopping:
                    return
                began = time.monotonic()
                try:
                    self.chats.append(await self.chat(connection, f"older-{self.name}-{number // 2}"))
                except asyncpg.PostgresError as error:
                    self.errors.append(repr(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.wrote.set()
        finally:
            await connection.close()

    async def chat(self, connection: Any, conversation_id: str) -> Chat:
        """One question, a reply that calls a tool, and the reply to its result."""
        chat = Chat(conversation_id)
        if self.habit == "in steps":
            async with connection.transaction():
                await self._conversation(connection, conversation_id)
            async with connection.transaction():
                await self._message(connection, chat, "user")
            async with connection.transaction():
                await self._replies(connection, chat)
            async with connection.transaction():
                await self._count(connection)
            return chat
        async with connection.transaction():
            if self.habit == "user first":
                await connection.fetch(USER, 1)
            await self._conversation(connection, conversation_id)
            await self._message(connection, chat, "user")
            await self._replies(connection, chat)
            await self._count(connection)
        return chat

    async def _conversation(self, connection: Any, conversation_id: str) -> None:
        if not await connection.fetch(KNOWN, conversation_id):
            await connection.execute(CONVERSATION, conversation_id, "openai", await connection.fetchval(NOW))

    async def _message(self, connection: Any, chat: Chat, role: str) -> int:
        moment = await connection.fetchval("SELECT clock_timestamp() AT TIME ZONE 'utc'")
        message_id = int(await connection.fetchval(MESSAGE, chat.conversation_id, role, f"قول {self.name}", moment))
        chat.messages.append(message_id)
        return message_id

    async def _replies(self, connection: Any, chat: Chat) -> None:
        calling = await self._message(connection, chat, "assistant")
        for word in ("كتب", "سلم"):
            moment = await connection.fetchval(NOW)
            chat.calls.append(await connection.fetchval(CALL, calling, "search_entries", f'{{"word": "{word}"}}', None, moment))
        await self._message(connection, chat, "assistant")

    async def _count(self, connection: Any) -> None:
        [user] = await connection.fetch(USER, 1)
        await connection.execute(COUNT, await connection.fetchval(NOW), user["daily_requests"] + 1, user["id"])
