"""Days that are over are counted once, and again when they change."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.core.events import UsageReported
from gateway.store.base import ConversationFilter, Viewer
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
SINCE = (NOON - timedelta(days=20)).replace(hour=0)


def on(days_ago: int, name: str, **more: Any) -> Any:
    began = int((NOON - timedelta(days=days_ago)).timestamp() * 1000)
    times = {"started_ms": began, "first_output_ms": began + 500, "ended_ms": began + 2000}
    return turn(name, cost_usd=0.5, usage=UsageReported(10, 5, 2, 1), **(times | more))


async def totals(store: PostgresStore) -> tuple[int, int, float]:
    counted = await store.statistics(SINCE)
    rows = await store.timeline(SINCE, 86_400)
    whole = sum(row["turns"] for row in rows if row["provider"] is None)
    return counted["turns"]["total"], whole, counted["cost_usd"]


async def test_a_month_is_the_sum_of_its_days(store: PostgresStore) -> None:
    await store.put([on(10, "a"), on(10, "b", provider="groq", status="failed"), on(2, "c", first_output_ms=None), on(30, "old")])
    for _ in range(2):
        counted = await store.statistics(SINCE)
        assert counted["turns"]["by_status"] == {"completed": 2, "failed": 1}
        assert counted["turns"]["by_provider"]["groq"]["total"] == 1
        assert counted["tokens"]["input"] == 30
        assert counted["cost_usd"] == 1.5
        assert counted["time_to_first_token_ms"]["p50"] == pytest.approx(500, rel=0.01)
        assert counted["total_ms"]["p95"] == pytest.approx(2000, rel=0.01)
        rows = await store.timeline(SINCE, 86_400)
        assert [(row["step"], row["provider"], row["turns"], row["failed"]) for row in rows] == [
            (10, "groq", 1, 1),
            (10, "openai", 1, 0),
            (10, None, 2, 1),
            (18, "openai", 1, 0),
            (18, None, 1, 0),
        ]
        assert (rows[2]["input_tokens"], rows[2]["cost_usd"]) == (20, 1.0)
        assert rows[2]["first_p50_ms"] == pytest.approx(500, rel=0.01)
        assert rows[4]["first_p50_ms"] is None


async def test_the_years_before_the_first_turn_are_counted_at_once(store: PostgresStore, database_url: str) -> None:
    await store.put([on(1000, "first"), on(10, "a")])
    for _ in range(2):
        counted = await store.statistics(SINCE - timedelta(days=3640))
        assert counted["turns"]["total"] == 2
    connection = await asyncpg.connect(database_url)
    [days, writers] = await connection.fetchrow("SELECT count(*), count(DISTINCT xmin::text) FROM counted_days")
    await connection.close()
    assert days == 3660
    assert writers < 50, "transactions"


async def test_a_day_that_changes_is_counted_again(store: PostgresStore, database_url: str) -> None:
    await store.put([on(10, "a"), on(9, "b")])
    assert await totals(store) == (2, 2, 1.0)
    await store.put([on(10, "late")])
    assert (await store.conversations(ADMIN, ConversationFilter(q="كتاب"))).conversations, "searching takes it in"
    assert await totals(store) == (3, 3, 1.5)
    assert await store.delete_conversation("a", ADMIN)
    assert await totals(store) == (2, 2, 1.0)
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM counted_days") == 20
    await connection.close()
