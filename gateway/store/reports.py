"""The log as its operator looks at it: over time, by caller, by what went wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.core.jsontext import loads
from gateway.store.listing import iso
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES
from gateway.store.rows import Row

MOST_CALLERS = 200
_JSON = ("error", "attempts")


async def timeline(connection: Connection, since: datetime, step_s: int) -> list[dict[str, Any]]:
    """See `Reports.timeline`."""
    rows = await connection.fetch(QUERIES["timeline"], _without_zone(since), step_s)
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


def _step(row: Row) -> dict[str, Any]:
    p50, p95 = row["first_ms"] or (None, None)
    kept = {name: value for name, value in row.items() if name != "first_ms"}
    return kept | {"first_p50_ms": p50, "first_p95_ms": p95}


def _read(row: Row) -> dict[str, Any]:
    found = dict(row) | {name: None if row[name] is None else loads(row[name]) for name in _JSON}
    return found | {"turn_id": str(row["turn_id"])}


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
