"""The log as operators and callers see it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.core.messages import ToolCall, ToolResult
from gateway.store.base import ConversationFilter, Viewer
from gateway.store.postgres import PostgresStore
from tests.store.samples import changed, rich_turn, turn

ADMIN = Viewer(None, everything=True)
BASE_MS = 1_760_000_000_000


async def ids(store: PostgresStore, viewer: Viewer = ADMIN, **wanted: Any) -> list[str]:
    page = await store.conversations(viewer, ConversationFilter(**wanted))
    return [conversation["id"] for conversation in page.conversations]


async def test_newest_activity_first_and_counted(store: PostgresStore) -> None:
    first = turn("a", caller="user:1", provider="google", started_ms=BASE_MS, ended_ms=BASE_MS + 1500)
    await store.put([first])
    await store.put([turn("b", started_ms=BASE_MS + 2000)])
    await store.put([turn("a", caller="user:1", question=None, started_ms=BASE_MS + 9000, ended_ms=BASE_MS + 9250)])
    page = await store.conversations(ADMIN, ConversationFilter())
    assert page.next_cursor is None
    assert page.conversations == [
        {
            "id": "a",
            "provider": "google",
            "created_at": "2025-10-09T08:53:20.000Z",
            "updated_at": "2025-10-09T08:53:29.250Z",
            "message_count": 3,
            "user_id": "user:1",
        },
        {
            "id": "b",
            "provider": "openai",
            "created_at": "2025-10-09T08:53:22.000Z",
            "updated_at": "2025-10-09T08:53:24.000Z",
            "message_count": 2,
            "user_id": None,
        },
    ]


async def test_pages_follow_each_other_without_gap_or_repeat(store: PostgresStore) -> None:
    records = [turn(f"محادثة-{number:02}", started_ms=BASE_MS + number // 4) for number in range(23)]
    await store.put(records)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.conversations(ADMIN, ConversationFilter(limit=5, cursor=cursor))
        seen += [conversation["id"] for conversation in page.conversations]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 23
    assert seen == sorted(seen, key=lambda name: (int(name[-2:]) // 4, name), reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "WzEsMl0=", "WyJub3ciLCJhIl0=", "bnVsbA==", "é"])
async def test_a_cursor_that_is_none_is_told(store: PostgresStore, cursor: str) -> None:
    if not cursor:
        assert await ids(store, cursor=cursor) == []
        return
    with pytest.raises(ValueError, match="cursor"):
        await store.conversations(ADMIN, ConversationFilter(cursor=cursor))


async def test_filters(store: PostgresStore) -> None:
    await store.put([turn("a", caller="user:1", started_ms=BASE_MS)])
    await store.put([turn("b", caller="user:2", provider="groq", status="failed", started_ms=BASE_MS + 60_000)])
    await store.put([turn("c", "100% صحيح_", caller="user:2", started_ms=BASE_MS + 120_000)])
    moment = datetime.fromtimestamp(BASE_MS / 1000 + 60, UTC)
    assert await ids(store) == ["c", "b", "a"]
    assert await ids(store, provider="groq") == ["b"]
    assert await ids(store, user="user:2") == ["c", "b"]
    assert await ids(store, status="failed") == ["b"]
    assert await ids(store, status="completed") == ["c", "a"]
    assert await ids(store, since=moment) == ["c", "b"]
    assert await ids(store, until=moment) == ["a"]
    assert await ids(store, since=moment, until=moment + timedelta(minutes=1)) == ["b"]
    assert await ids(store, q="100% صحيح_") == ["c"]
    assert await ids(store, q="%") == []
    assert await ids(store, q="كِتاب", provider="groq", user="user:2", status="failed", since=moment) == ["b"]
    assert await ids(store, user="user:1", status="failed") == []


async def test_callers_see_their_own_alone(store: PostgresStore) -> None:
    await store.put([turn("own", caller="user:1"), turn("theirs", "سرهم", caller="user:2"), turn("open", "سر لا أحد")])
    await store.put([turn("open", "سر الضيف", caller="user:1", status="stopped")])
    guest = Viewer("user:1")
    assert await ids(store, guest) == ["open", "own"]
    assert await ids(store, Viewer("user:2")) == ["theirs"]
    assert await ids(store, Viewer("user:3")) == []
    assert await ids(store, Viewer(None)) == []
    page = await store.conversations(guest, ConversationFilter())
    assert [conversation["message_count"] for conversation in page.conversations] == [2, 2]
    assert await ids(store, guest, q="سر") == ["open"]
    assert await ids(store, guest, q="لا أحد") == []
    assert await ids(store, guest, status="stopped") == ["open"]
    assert await ids(store, guest, user="user:2") == []
    shown = await store.conversation("open", guest)
    assert shown is not None
    assert [message["content"] for message in shown["messages"]] == ["سر الضيف", "ما يُكتب فيه"]
    assert await store.conversation("theirs", guest) is None
    assert await store.conversation("open", Viewer("user:2")) is None
    assert await store.conversation("open", Viewer(None)) is None
    assert await store.conversation("own", Viewer(None)) is None
    assert await store.conversation("unknown", ADMIN) is None


async def test_a_conversation_whole(store: PostgresStore) -> None:
    record = rich_turn()
    [stored] = await store.put([record])
    results = (ToolResult("call_1", "get_entry", "نص"),)
    await store.put([turn(question=None, caller="user:7", tool_results=results)])
    shown = await store.conversation("conv-1", Viewer("user:7"))
    assert shown is not None
    question, reply, after = shown.pop("messages")
    assert shown == {
        "id": "conv-1",
        "provider": "openai",
        "created_at": question["timestamp"],
        "updated_at": after["timestamp"],
        "user_id": "user:7",
        "active_turns": [],
    }
    nothing: dict[str, Any] = {
        "provider": None,
        "model": None,
        "finish_reason": None,
        "tool_calls": [],
        "thoughts": [],
        "sources": [],
    }
    same = {"turn_id": record.begun.turn_id, "status": "failed"}
    assert question == {
        "id": str(int(stored.message_id or 0) - 1),
        "role": "user",
        "content": "ما هذا؟",
        "timestamp": question["timestamp"],
        "usage": None,
        "error": None,
        **same,
        **nothing,
    }
    assert reply == {
        "id": str(stored.message_id),
        "role": "assistant",
        "content": record.ended.reply.content,
        "timestamp": reply["timestamp"],
        "cached": True,
        **same,
        "provider": "openai",
        "model": "gpt-4o",
        "finish_reason": "tool_calls",
        "tool_calls": [
            {
                "id": "call_1",
                "tool_name": "get_entry",
                "arguments": '{"id":7,"كلمة":"كِتاب","weights":[0.1,1e-9,12345678901234567]}',
                "result": '"نص"',
            },
            {"id": "call_2", "tool_name": "search", "arguments": "{}", "result": None},
        ],
        "thoughts": [
            {"iteration": 1, "content": "أبحث أولًا", "tool_calls": ["get_entry", "search"], "timestamp": 1_760_000_000_123},
            {"iteration": 2, "content": "", "tool_calls": [], "timestamp": 1},
        ],
        "sources": [
            {
                "id": "1",
                "type": "web",
                "title": "لسان العرب",
                "url": "https://example.org/a?b=1",
                "snippet": None,
                "description": "معجم",
            },
            {"id": "2", "type": "web", "title": None, "url": None, "snippet": None, "description": None},
        ],
        "usage": {
            "input_tokens": 1200,
            "output_tokens": 340,
            "cached_tokens": 1000,
            "reasoning_tokens": 120,
            "cost_usd": 0.000371,
        },
        "error": {"code": "provider_error", "detail": "تعذّر الرد", "retryable": True},
    }


async def test_what_a_provider_said_of_a_failure_is_not_shown(store: PostgresStore) -> None:
    await store.put([rich_turn()])
    assert "sk-" not in str(await store.conversation("conv-1", ADMIN))


async def test_unknown_counts_are_null_and_times_have_milliseconds(store: PostgresStore) -> None:
    record = turn(started_ms=BASE_MS + 7, tool_calls=(ToolCall("c", "x", {}),))
    await store.put([changed(record, ended_ms=BASE_MS + 7)])
    shown = await store.conversation("conv-1", ADMIN)
    assert shown is not None
    question, reply = shown["messages"]
    assert (question["timestamp"], reply["timestamp"]) == ("2025-10-09T08:53:20.007Z", "2025-10-09T08:53:20.008Z")
    assert set(reply["usage"].values()) == {None}
