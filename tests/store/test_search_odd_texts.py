"""Texts that are hard to take into the search, on purpose or not."""

from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import pytest

from gateway.core.messages import ToolCall
from gateway.store.base import ConversationFilter, Viewer
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
# `الله`, written with one letter: four letters for one.
ALLAH = "\ufdf2"
# What is wished for the prophet, written with one letter: four words for one.
BLESSING = "\ufdfa"
DIFFERENT_LONG_WORDS = " ".join(ALLAH * 50 + chr(0x4E00 + number) for number in range(1920))
DIFFERENT_SHORT_WORDS = " ".join(chr(0x3400 + number // 5) + chr(0x4E00 + number) for number in range(20_000))

ODD_QUESTIONS: Final = [
    "؟!…",
    '"',
    '"كتاب',
    "“",
    "'",
    "\\",
    "a'b",
    "كتاب & ! | <-> :*",
    "ل",
    "ال",
    "\u064b\u064c",
    "\u200d",
    "\ufffd",
    BLESSING * 500,
    ALLAH * 500,
]


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def found(store: PostgresStore, wanted: ConversationFilter) -> list[str]:
    """Ids of the conversations found once all is taken in."""
    while (page := await store.conversations(ADMIN, wanted)).incomplete:
        pass
    return [row["id"] for row in page.conversations]


@pytest.mark.parametrize("text", [DIFFERENT_LONG_WORDS, DIFFERENT_SHORT_WORDS, BLESSING * 100_000, "ط" * 100_000, "ال" * 50_000])
async def test_no_text_keeps_others_from_being_found(store: PostgresStore, text: str) -> None:
    call = ToolCall("call_1", "n" * 5000, {"text": text})
    await store.put([turn("odd", text, text, tool_calls=(call,)), turn("other", "قاموس")])
    assert await found(store, ConversationFilter(q="قاموس")) == ["other"]
    assert await found(store, ConversationFilter(tool="n" * 500)) == ["odd"]


async def test_long_texts_are_taken_in_a_few_at_a_time(store: PostgresStore, connection: Any) -> None:
    """Two hundred of them take longer than a statement may."""
    await store.put([turn("a", "قاموس")])
    await connection.execute(
        "INSERT INTO messages (conversation_id, role, content)"
        " SELECT 'a', 'user', repeat('كلمة ', 20000) FROM generate_series(1, 9)"
    )
    page = await store.conversations(ADMIN, ConversationFilter(q="قاموس"))
    assert (len(page.conversations), page.incomplete) == (1, True)
    assert await connection.fetchval("SELECT count(*) FROM message_search") < 6
    assert await found(store, ConversationFilter(q="قاموس")) == ["a"]
    assert await connection.fetchval("SELECT count(*) FROM message_search") == 11
    await connection.execute("DELETE FROM message_search; UPDATE search_progress SET unread = 11, settled = 11")
    assert await found(store, ConversationFilter(q="قاموس")) == ["a"]
    assert await connection.fetchval("SELECT count(*) FROM message_search") == 11


async def test_a_word_of_any_length_counts_as_one(store: PostgresStore) -> None:
    await store.put([turn("a", f"{'f' * 3000} قديم {'x ' * 40} هنا قلم بعد")])
    [row] = (await store.conversations(ADMIN, ConversationFilter(q="قلم"))).conversations
    assert "هنا <mark>قلم</mark> بعد" in row["snippet"]


async def test_letters_in_parts_are_marked_whole(store: PostgresStore) -> None:
    await store.put([turn("a", "\u212b un cafe\u0301 noir", "\ufb01 \ufdf2 قال")])
    [row] = (await store.conversations(ADMIN, ConversationFilter(q="caf\u00e9"))).conversations
    assert row["snippet"] == "\u00c5 un <mark>caf\u00e9</mark> noir"


async def test_any_question_is_answered(store: PostgresStore, subtests: pytest.Subtests) -> None:
    await store.put([turn("a", "معجم", "river")])
    for q in ODD_QUESTIONS:
        with subtests.test(q=q):
            assert (await store.conversations(ADMIN, ConversationFilter(q=q))).conversations == []
