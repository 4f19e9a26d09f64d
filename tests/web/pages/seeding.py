"""A log as an operator finds it: some hundreds of conversations of the last month, in every state."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from gateway.core.errors import ErrorCode
from gateway.core.events import SourceFound, UsageReported
from gateway.core.messages import ToolCall
from gateway.core.turn import Attempt, Thought, TurnError, TurnRecord
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.store.samples import changed, turn

CONVERSATIONS: Final = 300
MODELS: Final = {
    "openai": "gpt-6-luna",
    "anthropic": "claude-haiku-5-5",
    "groq": "openai/gpt-oss-120b",
    "google": "gemini-3.8-flash",
}
WORDS: Final = ("كِتاب", "سَلْسَبيل", "قَلَم", "مُعْجَم", "بَحْر", "نُور", "صَبْر", "عِلْم")
CODES: Final[tuple[ErrorCode, ...]] = ("provider_error", "provider_timeout", "provider_overloaded", "provider_rejected")
TALK: Final = "conv-with-everything"
ANSWER: Final = "السلسبيل: الماء العذب السهل المرور في الحلق.\nIn English: sweet, easy water.\nوجمعه: سلاسب وسلاسيب."
UPSTREAM: Final = '{"error": {"message": "The server had an error <while> processing"}}'


async def seed(database_url: str, conversations: int = CONVERSATIONS) -> int:
    """Fill a log, the same for every run but for the time of day; the number of turns."""
    store = PostgresStore(parse_dsn(database_url))
    records = [*turns(conversations), *talk()]
    try:
        # Never two turns of one conversation in a statement.
        for record in records:
            await store.put([record])
    finally:
        await store.close()
    return len(records)


def turns(conversations: int) -> Iterator[TurnRecord]:
    """Turns of these conversations, oldest first, most of them of the last day."""
    chance = random.Random(7)
    now = int(time.time() * 1000)
    ages = sorted((int(chance.expovariate(1 / 20) * 3_600_000) + 60_000 for _ in range(conversations)), reverse=True)
    for number, age in enumerate(ages):
        provider = chance.choices(list(MODELS), (6, 3, 1, 2))[0]
        word = chance.choice(WORDS)
        began = now - age
        first = began + int(chance.lognormvariate(6.3, 0.5))
        usage = UsageReported(chance.randint(200, 3000), chance.randint(20, 900), chance.choice((0, 0, 150)))
        made: dict[str, Any] = {
            "caller": chance.choice((None, "user:7", "user:8", "user:9", "key:app", "admin")),
            "provider": provider,
            "model": MODELS[provider],
            "started_ms": began,
            "first_output_ms": first,
            "ended_ms": first + chance.randint(500, 9000),
            "usage": usage,
            "cost_usd": round(chance.uniform(0.0001, 0.02), 6),
            "streamed": True,
        }
        made |= {"content": f"{word}: ما ورد في المعجم."} | ending(chance)
        record = turn(f"conv-{number:04}", f"ما معنى كلمة «{word}»؟ ({number})", **made)
        yield replace(record, begun=replace(record.begun, provider=provider, model=MODELS[provider]))


def ending(chance: random.Random) -> dict[str, Any]:
    """How a turn ended, where not as usual."""
    kind = chance.random()
    if kind < 0.05:
        error = TurnError(chance.choice(CODES), "تعذّر الرد الآن.", retryable=True, upstream_status=500, upstream=UPSTREAM)
        return {"status": "failed", "error": error, "content": "", "finish_reason": None}
    if kind < 0.08:
        return {"status": chance.choice(("stopped", "interrupted")), "finish_reason": None}
    return {}


def talk() -> Iterator[TurnRecord]:
    """One conversation that has everything a page can show."""
    now = int(time.time() * 1000)
    thoughts = (Thought(1, "أبحث في المعجم أولًا.", ("search_entries",), now),)
    call = ToolCall("call_1", "search_entries", {"word": "سلسبيل", "limit": 3})
    asked = turn(TALK, "ما معنى «سَلْسَبيل»؟", "", caller="user:7", started_ms=now - 50_000, ended_ms=now - 48_000)
    yield changed(asked, tool_calls=(call,), thoughts=thoughts, finish_reason="tool_calls")
    sources = (
        SourceFound("web", "لسان العرب", "https://example.org/lisan", "السلسبيل: عين في الجنة", None, "1"),
        SourceFound("web", "<script>alert(1)</script>", "javascript:alert(1)", None, None, "2"),
    )
    attempts = (Attempt("anthropic", "claude-haiku-5-5", "provider_overloaded", 529),)
    times = {"started_ms": now - 40_000, "first_output_ms": now - 39_200, "ended_ms": now - 36_000}
    usage = UsageReported(1200, 340, 1000, 120)
    yield turn(TALK, "وجمعه؟", ANSWER, caller="user:7", sources=sources, attempts=attempts, usage=usage, cost_usd=0.0123, **times)
    error = TurnError("provider_error", "The provider failed; try again.", retryable=True, upstream_status=502, upstream=UPSTREAM)
    times = {"started_ms": now - 30_000, "ended_ms": now - 29_000}
    yield turn(TALK, "والضد؟", "الماء", caller="user:7", status="failed", error=error, finish_reason=None, **times)
