"""Finding conversations by what was said in them."""

from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import pytest

from gateway.core.messages import ToolCall
from gateway.store.base import BadQuery, ConversationFilter, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.indexing import SearchIndex, take_in
from gateway.store.pool import transaction
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
BASE_MS = 1_760_000_000_000
# What is said, and what is asked.
FORMS: Final = [
    ("مُعْجَم", "معجم"),
    ("معجم", "مُعْجَم"),
    ("المُعْجَمُ الوسيط", "معجم"),
    ("معجم", "والمعجم"),
    ("والسلام", "سلام"),
    ("السَّلامُ عليكم", "بالسلام"),
    ("وبالسلام", "السلام"),
    ("وكتاب", "كتاب"),
    ("بكتابٍ", "كتاب"),
    ("للكتاب", "كتاب"),
    ("لكتاب", "كتاب"),
    ("ولكتاب", "كتاب"),
    ("كتـــاب", "كتاب"),
    ("أحمد", "احمد"),
    ("إسلام", "اسلام"),
    ("آداب", "اداب"),
    ("ٱلْكِتَـٰب", "الكتب"),
    ("مستشفى", "مستشفي"),
    ("مدرسة", "مدرسه"),
    ("المدرسة", "مدرسة"),
    ("قارئ", "قاري"),
    ("مؤمن", "مومن"),
    ("عام ١٩٩٠", "1990"),
    ("عام 1990", "۱۹۹۰"),
    ("ﻛﺘﺎﺏ", "كتاب"),
    ("کتاب", "كتاب"),
    ("«كتاب»؟", "كتاب"),
    ("كتاب،قلم", "قلم"),
    ("الله", "والله"),
    ("لله", "الله"),
    ("اليد", "يد"),
    ("الوالدين", "والدين"),
    ("The runners were running", "run"),
    ("a dictionary", "DICTIONARIES"),
    ("كلمة dictionary هنا", "dictionary كلمة"),
    ("the", "the"),
    ("kitāb كِتَاب", "kitab"),
    ("kitab", "KITĀB"),
    ("cafe\u0301", "café"),
    ("café", "cafe\u0301"),
    ("ёлка й", "елка"),
    ("naïve أَدَاة", "أداه"),
    ("한국어 é", "한국어"),
    ("gpt-4.1", "gpt-4.1"),
]
LOOK_ALIKES: Final = [
    ("والد", "دين"),
    ("والدين", "دين"),
    ("الآن", "أن"),
    ("ماء", "ما"),
    ("كتاب", "كاتب"),
    ("كتاب", "؟"),
    ("كتاب", '""'),
]


async def found(store: PostgresStore, q: str | None = None, viewer: Viewer = ADMIN, **wanted: Any) -> list[str]:
    page = await store.conversations(viewer, ConversationFilter(q=q, **wanted))
    assert not page.incomplete
    return [conversation["id"] for conversation in page.conversations]


async def marked(store: PostgresStore, q: str) -> str:
    [row] = (await store.conversations(ADMIN, ConversationFilter(q=q))).conversations
    return str(row["snippet"])


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.mark.parametrize(("cases", "finds"), [(FORMS, True), (LOOK_ALIKES, False)])
async def test_a_word_is_found_in_any_of_its_forms(
    store: PostgresStore, subtests: pytest.Subtests, cases: list[tuple[str, str]], finds: bool
) -> None:
    await store.put([turn("other", "بحر", "نهر river")])
    for number, (said, asked) in enumerate(cases):
        with subtests.test(said=said, asked=asked):
            await store.put([turn(f"it-{number}", said, "river")])
            assert await found(store, asked) == ([f"it-{number}"] if finds else [])
        assert await store.delete_conversation(f"it-{number}", ADMIN)


async def test_words_must_all_be_in_one_message_and_phrases_in_order(store: PostgresStore) -> None:
    await store.put([turn("a", "ما معنى لسان العرب؟", "معجم")])
    await store.put([turn("b", "العرب ولهم لسان", "قاموس")])
    assert await found(store, "لسان العرب") == ["b", "a"]
    assert await found(store, '"لسان العرب"') == ["a"]
    for asked in ("“لِسانُ العَرَب” معنى", "«لسان العرب»", "معنى «لِسانُ العَرَب»؟"):
        assert await found(store, asked) == ["a"]
    assert await found(store, "«لسان العرب") == ["b", "a"]
    assert await found(store, "لسان معجم") == []
    assert await found(store, '"معنى العرب"') == []


async def test_the_match_is_marked_in_the_message_s_own_spelling(store: PostgresStore) -> None:
    await store.put([turn("a", "ما هو <b>المُعْجَمُ</b> & ما «مُعْجَمٌ»؟", "river")])
    text = await marked(store, "معجم")
    assert text == "ما هو &lt;b&gt;<mark>المُعْجَمُ</mark>&lt;/b&gt; &amp; ما «<mark>مُعْجَمٌ</mark>»؟"
    await store.put([turn("b", "قال", "كلمة " * 300 + "عينٌ في الجنّة، وفي الجنة عين" + " كلمة" * 300)])
    phrase = await marked(store, '"عين في الجنة"')
    assert "<mark>عينٌ</mark> <mark>في</mark> <mark>الجنّة</mark>، وفي الجنة عين" in phrase
    assert phrase.startswith("… كلمة")
    assert phrase.endswith("كلمة …")
    assert len(phrase) < 500
    [row] = (await store.conversations(ADMIN, ConversationFilter(q='"عين في الجنة"'))).conversations
    shown = await store.conversation("b", ADMIN)
    assert shown is not None
    assert row["message_id"] == shown["messages"][1]["id"]


async def test_tools_and_costs(store: PostgresStore) -> None:
    call = ToolCall("call_1", "search_entries", {"word": "سَلْسَبيل"})
    await store.put([turn("a", "ما معناها؟", caller="user:1", tool_calls=(call,), cost_usd=0.25)])
    await store.put([turn("a", "وجمعها؟", caller="user:1", cost_usd=0.25)])
    odd = ToolCall("call_2", "it's \\ odd", {})
    await store.put([turn("b", "search_entries سلسبيل", caller="user:2", tool_calls=(odd,), cost_usd=0.125)])
    assert await found(store, tool="search_entries") == ["a"]
    assert await found(store, tool="it's \\ odd") == ["b"]
    assert await found(store, tool="search") == []
    assert await found(store, "سلسبيل", tool="search_entries") == ["a"]
    assert (
        '"<mark>سَلْسَبيل</mark>"'.replace('"', "&quot;")
        in ((await store.conversations(ADMIN, ConversationFilter(q="سلسبيل", user="user:1"))).conversations[0]["snippet"])
    )
    assert await found(store, min_cost=0.5) == ["a"]
    assert await found(store, min_cost=0.1) == ["b", "a"]
    assert await found(store, min_cost=0.51) == []
    assert await found(store, min_cost=0.0, status="completed", provider="openai") == ["b", "a"]
    assert await found(store, "سلسبيل", min_cost=0.2, viewer=Viewer("user:2")) == []
    assert await found(store, min_cost=0.1, viewer=Viewer("user:2")) == ["b"]


async def test_callers_search_in_their_own_alone(store: PostgresStore) -> None:
    await store.put([turn("own", "كنز", caller="user:1"), turn("theirs", "كنز", caller="user:2"), turn("open", "كنز")])
    await store.put([turn("open", "سر", caller="user:1")])
    assert await found(store, "كنز") == ["open", "theirs", "own"]
    assert await found(store, "كنز", Viewer("user:1")) == ["own"]
    assert await found(store, "سر", Viewer("user:1")) == ["open"]
    assert await found(store, "كنز", Viewer("user:3")) == []
    assert await found(store, "كنز", Viewer(None)) == []


async def crowd(store: PostgresStore, conversations: int) -> None:
    """Every conversation has the first word, every tenth the second, one the third; the last is the newest."""
    for number in range(conversations):
        rare = " نادرة" if number == 3 else ""
        text = f"شائعة{' متوسطة' if number % 10 == 0 else ''}{rare}"
        await store.put([turn(f"c{number:03}", text, "river", started_ms=BASE_MS + number * 1000)])


async def test_common_and_rare_words_in_a_log_larger_than_what_is_probed(store: PostgresStore) -> None:
    await crowd(store, 420)
    while await take_everything_in(store):
        pass
    everything = [f"c{number:03}" for number in reversed(range(420))]
    assert await found(store, "شائعة") == everything[:50]
    assert await found(store, "شائعة", limit=300) == everything[:300]
    assert await found(store, "شائعة", limit=500) == everything
    assert await found(store, "متوسطة") == everything[9::10][:50]
    assert await found(store, "نادرة") == ["c003"]
    assert await found(store, "نادرة شائعة", status="completed") == ["c003"]
    assert await found(store, "نادرة", user="user:1") == []
    assert await found(store, "معدومة") == []
    page = await store.conversations(ADMIN, ConversationFilter(q="متوسطة", limit=20))
    rest = await store.conversations(ADMIN, ConversationFilter(q="متوسطة", limit=50, cursor=page.next_cursor))
    assert [row["id"] for row in (*page.conversations, *rest.conversations)] == everything[9::10]
    assert rest.next_cursor is None


async def take_everything_in(store: PostgresStore) -> bool:
    async def portion(connection: Any) -> bool:
        async with transaction(connection):
            return await take_in(connection, 100, wait=True)

    return await store.run(portion)


async def test_an_older_log_is_taken_in_behind(store: PostgresStore, connection: Any) -> None:
    await store.put([turn("old", "قديمة")])
    await connection.execute("DELETE FROM message_search; UPDATE search_progress SET unread = 2, settled = 2")
    for number in range(300):
        await connection.execute("INSERT INTO conversations (id, updated_at) VALUES ($1, now())", f"c{number}")
        await connection.execute(
            "INSERT INTO messages (conversation_id, role, content) VALUES ($1, 'user', 'لاحقة')", f"c{number}"
        )
    page = await store.conversations(ADMIN, ConversationFilter(q="قديمة"))
    assert (page.conversations, page.incomplete) == ([], True)
    while await take_everything_in(store):
        pass
    assert await found(store, "قديمة") == ["old"]
    assert len(await found(store, "لاحقة", limit=500)) == 300
    await store.put([turn("new", "جديدة")])
    assert await found(store, "جديدة") == ["new"]


async def test_the_index_fills_itself(store: PostgresStore, connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.indexing._IDLE_S", 0.01)
    await store.put([turn("a", "كتاب")])
    index = SearchIndex(store.run)
    index.start()
    while await connection.fetchval("SELECT count(*) FROM message_search") < 2:
        await store.ping()
    await index.close()
    await SearchIndex(store.run).close()


async def test_messages_that_become_visible_late_are_found(store: PostgresStore, connection: Any, database_url: str) -> None:
    """An id may be taken long before its message can be seen; many that come after it are settled meanwhile."""
    slow = await asyncpg.connect(database_url)
    await slow.execute("INSERT INTO conversations (id) VALUES ('late'), ('busy')")
    await slow.execute("BEGIN")
    await slow.execute("INSERT INTO messages (conversation_id, role, content) VALUES ('late', 'user', 'متأخرة')")
    text = "INSERT INTO messages (conversation_id, role, content) SELECT 'busy', 'user', 'x' FROM generate_series(1, 2500)"
    for _ in range(2):
        await connection.execute(text)
        while await take_everything_in(store):
            pass
        assert await found(store, "متأخرة") == []
    await slow.execute("COMMIT")
    await slow.close()
    assert await found(store, "متأخرة") == ["late"]
    for _ in range(2):
        await connection.execute(text)
        while await take_everything_in(store):
            pass
    assert await connection.fetchval("SELECT settled FROM search_progress") > 2000
    assert await connection.fetchval("SELECT count(*) FROM message_search") == 10_001


async def test_what_is_deleted_is_nowhere_any_more(store: PostgresStore, connection: Any) -> None:
    await store.put([turn("a", "سر دفين")])
    assert await found(store, "دفين") == ["a"]
    assert await store.delete_conversation("a", ADMIN)
    assert await found(store, "دفين") == []
    assert await connection.fetchval("SELECT count(*) FROM message_search") == 0


async def test_a_search_has_bounds(store: PostgresStore, database_url: str) -> None:
    assert await found(store, "كلمة " * 16) == []
    with pytest.raises(BadQuery, match="16"):
        await found(store, "كلمة " * 17)
    await store.put([turn("long", "كلمة " * 30_000 + "آخرها", "ط" * 200_000)])
    assert await found(store, "كلمة") == ["long"]
    assert await found(store, "آخرها") == [], "beyond the first 100,000 characters"


async def test_a_search_that_takes_too_long_says_so(database_url: str, connection: Any) -> None:
    store = PostgresStore(parse_dsn(database_url), command_timeout_s=3)
    await store.put([turn("a", "كتاب")])
    await connection.execute("BEGIN; SELECT pg_advisory_xact_lock(726504)")
    page = await store.conversations(ADMIN, ConversationFilter(q="كتاب"))
    assert (page.conversations, page.incomplete) == ([], True)
    await connection.execute("LOCK TABLE message_search")
    with pytest.raises(BadQuery, match="too long"):
        await found(store, "كتاب")
    await connection.execute("COMMIT")
    assert await found(store, "كتاب") == ["a"]
    await store.close()
