"""Turns to store, each later than the one made before."""

from dataclasses import fields, replace
from itertools import count
from typing import Any

from gateway.core.events import SourceFound, UsageReported
from gateway.core.ids import new_turn_id
from gateway.core.messages import ToolCall, ToolResult
from gateway.core.turn import Attempt, Reply, Thought, TurnBegun, TurnEnded, TurnError, TurnRecord

_moments = count(1_760_000_000_000, 10_000)

EMPTY_REPLY = Reply("", (), (), (), UsageReported(), None, "", None)
IMAGE_PARTS = '[{"type": "text", "text": "ما هذا؟"},{"type":"image_url","image_url":{"url":"https://example.org/i.png"}}]'
ASKED = {field.name for field in fields(TurnBegun)}
REPLIED = {field.name for field in fields(Reply)}


def turn(
    conversation: str = "conv-1",
    question: str | None = "ما معنى كلمة «كِتاب»؟",
    content: str = "ما يُكتب فيه",
    **more: Any,
) -> TurnRecord:
    """A completed turn of two seconds. `more` are members of its begin, its end or its reply."""
    started = more.get("started_ms", next(_moments))
    reply = replace(EMPTY_REPLY, content=content, finish_reason="stop", layout=f"t{len(content)}")
    begun = TurnBegun(new_turn_id(), conversation, None, "openai", "gpt-4o", question, None, (), started, "0" * 64, "req-1")
    ended = TurnEnded("completed", "openai", "gpt-4o", reply, started + 2000)
    return changed(TurnRecord(begun, ended), **more)


def changed(record: TurnRecord, **more: Any) -> TurnRecord:
    """The record with these members replaced; `provider` and `model` are those that answered."""
    begun, ended = record.begun, record.ended
    asked = {name: more.pop(name) for name in list(more) if name in ASKED and name not in ("provider", "model")}
    replied = {name: more.pop(name) for name in list(more) if name in REPLIED}
    return TurnRecord(replace(begun, **asked), replace(ended, **{"reply": replace(ended.reply, **replied), **more}))


def rich_turn() -> TurnRecord:
    """A failed turn with something in every member."""
    reply = Reply(
        content="الكِتَابُ: ما يُكْتَبُ فيه 📖",
        tool_calls=(
            ToolCall("call_1", "get_entry", {"id": 7, "كلمة": "كِتاب", "weights": [0.1, 1e-9, 12345678901234567]}),
            ToolCall("call_2", "search", {}, "ليس JSON"),
        ),
        thoughts=(Thought(1, "أبحث أولًا", ("get_entry", "search"), 1_760_000_000_123), Thought(2, "", (), 1)),
        sources=(SourceFound("web", "لسان العرب", "https://example.org/a?b=1", None, "معجم", "1"), SourceFound("web", id="2")),
        usage=UsageReported(1200, 340, 1000, 120, 64),
        finish_reason="tool_calls",
        layout="r10,c,c,t26",
        state={"blocks": [{"signature": "abc==", "text": "فكرة"}], "n": 1.5},
    )
    begun = replace(
        turn(question="ما هذا؟").begun,
        caller="user:7",
        provider="anthropic",
        model="claude-haiku-5-5",
        question_parts=IMAGE_PARTS,
        tool_results=(ToolResult("call_0", "lookup", "نتيجة"), ToolResult("call_x", "lookup", '{"ok": true}')),
        idempotency_key="key-1",
        streamed=True,
        simulated=True,
    )
    ended = TurnEnded(
        "failed",
        "openai",
        "gpt-4o",
        reply,
        begun.started_ms + 4321,
        begun.started_ms + 321,
        0.000371,
        TurnError("provider_error", "تعذّر الرد", retryable=True, retry_after=1.5, upstream_status=500, upstream="sk-… said {…}"),
        (Attempt("anthropic", "claude-haiku-5-5", "provider_overloaded", 529), Attempt("groq", "x", "provider_timeout")),
        abandoned=True,
        cached=True,
        question_hash="9f86d081884c7d659a2feaa0c55ad015",
    )
    return TurnRecord(begun, ended)
