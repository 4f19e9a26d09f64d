"""What the operator's pages ask of the log."""

from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.core.events import UsageReported
from gateway.core.turn import TurnError
from gateway.store.postgres import PostgresStore
from tests.store.samples import rich_turn, turn

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours: float) -> int:
    return int((BEGAN + timedelta(hours=hours)).timestamp() * 1000)


async def test_a_timeline_counts_each_turn_once_in_the_step_in_which_it_ended(store: PostgresStore) -> None:
    usage = UsageReported(10, 5)
    await store.put([turn("a", started_ms=at(0.1), ended_ms=at(0.2), first_output_ms=at(0.1) + 100, usage=usage, cost_usd=0.5)])
    await store.put([turn("b", started_ms=at(0.3), ended_ms=at(0.4), first_output_ms=at(0.3) + 300, provider="groq")])
    await store.put([turn("c", started_ms=at(2.1), ended_ms=at(2.2), status="stopped")])
    await store.put([turn("d", started_ms=at(-2), ended_ms=at(-1))])
    rows = await store.timeline(BEGAN, 3600)
    assert [(row["step"], row["provider"], row["turns"]) for row in rows] == [
        (0, "groq", 1),
        (0, "openai", 1),
        (0, None, 2),
        (2, "openai", 1),
        (2, None, 1),
    ]
    whole = rows[2]
    assert (whole["input_tokens"], whole["output_tokens"], whole["cost_usd"]) == (10, 5, 0.5)
    assert (whole["first_p50_ms"], whole["first_p95_ms"]) == (200, 290)
    assert (rows[4]["stopped"], rows[4]["failed"], rows[4]["first_p50_ms"]) == (1, 0, None)


async def test_callers_come_with_what_they_asked_and_who_they_are(store: PostgresStore, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO users (id, auth_provider, email) VALUES (7, 'google', 'salma@example.org')")
    await connection.execute("INSERT INTO daily_usage VALUES ('user:7', (now() AT TIME ZONE 'utc')::date, 3)")
    await connection.close()
    await store.put([turn("a", caller="user:7", started_ms=at(1), ended_ms=at(2), cost_usd=0.25)])
    await store.put([turn("c", caller="user:99999999999", started_ms=at(1), ended_ms=at(3))])
    await store.put([turn("d", started_ms=at(1), ended_ms=at(3))])
    first, *others = await store.callers(BEGAN)
    assert (first["caller"], first["turns"], first["email"], first["asked_today"]) == ("user:7", 1, "salma@example.org", 3)
    assert (first["failures"], first["cost_usd"], first["last_at"]) == (0, 0.25, "2026-03-01T02:00:00.000Z")
    assert [(row["caller"], row["email"]) for row in others] == [("user:99999999999", None), (None, None)]


async def test_failures_are_the_newest_first_and_whole(store: PostgresStore) -> None:
    failed = TurnError("provider_timeout", "تأخر الرد", retryable=True)
    await store.put([rich_turn()])
    await store.put([turn("conv-2")])
    await store.put([turn("conv-3", status="failed", provider="groq", error=failed)])
    await store.put([turn("conv-4", status="interrupted")])
    found = await store.failures(10)
    assert [row["conversation_id"] for row in found] == ["conv-4", "conv-3", "conv-1"]
    assert found[2]["error"]["upstream"] == "sk-… said {…}"
    assert [attempt["provider"] for attempt in found[2]["attempts"]] == ["anthropic", "groq"]
    assert [row["id"] for row in await store.failures(1, found[0]["id"])] == [found[1]["id"]]
    assert [row["conversation_id"] for row in await store.failures(10, code="provider_timeout")] == ["conv-3"]
    assert [row["conversation_id"] for row in await store.failures(10, provider="openai")] == ["conv-4", "conv-1"]


async def test_details_and_outlines_of_conversations(store: PostgresStore) -> None:
    asked = rich_turn()
    await store.put([asked])
    await store.put([turn("conv-1", question="وبعد؟", caller="user:7", cost_usd=0.1)])
    details = await store.turn_details("conv-1")
    assert details[asked.begun.turn_id]["error"]["upstream_status"] == 500
    assert details[asked.begun.turn_id]["first_output_ms"] == asked.ended.first_output_ms
    assert len(details) == 2
    outlines = await store.outlines(["conv-1", "conv-none"])
    assert outlines["conv-1"] == {"id": "conv-1", "opening": "ما هذا؟", "turns": 2, "failures": 1, "cost_usd": 0.100371}
    assert outlines["conv-none"]["turns"] == 0
