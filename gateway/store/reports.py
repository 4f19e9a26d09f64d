"""The log as its operator looks at it: over time, by caller, by what went wrong."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from gateway.core.jsontext import loads
from gateway.store import days
from gateway.store.listing import iso
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES
from gateway.store.rows import Row

MOST_CALLERS = 200
_JSON = ("error", "attempts")
_SUMS = ("turns", "input_tokens", "output_tokens", "cost_usd")
_BAD = ("stopped", "interrupted", "failed")


async def timeline(connection: Connection, since: datetime, step_s: int) -> list[dict[str, Any]]:
    """See `Reports.timeline`."""
    moment = _without_zone(since)
    if step_s == days.DAY_S and days.is_midnight(moment) and days.spans_days(moment):
        return list(_by_day(await days.kinds(connection, moment), moment))
    rows = await connection.fetch(QUERIES["timeline"], moment, step_s)
    return [_step(row) for row in rows]


async def callers(connection: Connection, since: datetime) -> list[dict[str, Any]]:
    """See `Reports.callers`."""
    rows = await connection.fetch(QUERIES["callers"], _without_zone(since), MOST_CALLERS)
    return [{**row, "last_at": iso(row["last_at"])} for row in rows]


async def failures(
    connection: Connection, limit: int, before: int | None, code: str | None, provider: str | None
) -> list[dict[str, Any]]:
    """See `Reports.failures`."""
    rows = await connection.fetch(QUERIES["failures"], limit, before, code, provider)
    return [_read(row) | {"timestamp": iso(row["timestamp"])} for row in rows]


async def turn_details(connection: Connection, conversation_id: str) -> dict[str, dict[str, Any]]:
    """See `Reports.turn_details`."""
    rows = await connection.fetch(QUERIES["turn_details"], conversation_id)
    return {str(row["turn_id"]): _read(row) for row in rows}


async def outlines(connection: Connection, conversation_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """See `Reports.outlines`."""
    rows = await connection.fetch(QUERIES["outlines"], list(conversation_ids))
    return {row["id"]: dict(row) for row in rows}


def _by_day(rows: Sequence[Row], since: datetime) -> Iterator[dict[str, Any]]:
    """Rows of `days.kinds` as steps of a day; `since` is a midnight."""
    for day, of_day in groupby(rows, itemgetter("day")):
        by_provider = defaultdict[str | None, list[Row]](list)
        for row in of_day:
            by_provider[row["provider"]].append(row)
            by_provider[None].append(row)
        for provider, some in sorted(by_provider.items(), key=lambda item: (item[0] is None, item[0])):
            sums = {name: sum(row[name] for row in some) for name in _SUMS}
            bad = {status: sum(row["turns"] for row in some if row["status"] == status) for status in _BAD}
            p50, p95 = days.quantiles(some, "first_ms", (0.5, 0.95))
            yield {
                "step": (day - since.date()).days,
                "provider": provider,
                **sums,
                **bad,
                "first_p50_ms": p50,
                "first_p95_ms": p95,
            }


def _step(row: Row) -> dict[str, Any]:
    p50, p95 = row["first_ms"] or (None, None)
    kept = {name: value for name, value in row.items() if name != "first_ms"}
    return kept | {"first_p50_ms": p50, "first_p95_ms": p95}


def _read(row: Row) -> dict[str, Any]:
    found = dict(row) | {name: None if row[name] is None else loads(row[name]) for name in _JSON}
    return found | {"turn_id": str(row["turn_id"])}


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
