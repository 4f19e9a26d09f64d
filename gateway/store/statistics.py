"""What happened lately, counted by PostgreSQL."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from gateway.store import days
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES

_TOKENS = ("input", "output", "cached", "cache_write", "reasoning")
_QUANTILES = ("p50", "p95", "p99")
_SHARES = (0.5, 0.95, 0.99)


async def statistics(connection: Connection, since: datetime) -> dict[str, Any]:
    """See `Store.statistics`."""
    moment = since.astimezone(UTC).replace(tzinfo=None)
    if days.spans_days(moment):
        counted = await days.kinds(connection, moment)
        first_ms, total_ms = (days.quantiles(counted, name, _SHARES) for name in ("first_ms", "total_ms"))
    else:
        rows = await connection.fetch(QUERIES["statistics"], moment)
        counted = [row for row in rows if row["turns"]]
        first_ms, total_ms = rows[0]["first_ms"], rows[0]["total_ms"]
    by_status: Counter[str] = Counter()
    by_provider: defaultdict[str, Counter[str]] = defaultdict(Counter)
    errors: Counter[str] = Counter()
    for row in counted:
        by_status[row["status"]] += row["turns"]
        by_provider[row["provider"]][row["status"]] += row["turns"]
        if row["error"]:
            errors[row["error"]] += row["turns"]
    return {
        "turns": {
            "total": sum(by_status.values()),
            "by_status": dict(by_status),
            "by_provider": {name: _provider(name, statuses, counted) for name, statuses in by_provider.items()},
            "by_model": [
                {"provider": provider, "model": model} | _sums(rows)
                for (provider, model), rows in _by(counted, "provider", "model")
            ],
            "by_day": [{"day": day.isoformat()} | _sums(rows) for (day,), rows in _by(counted, "day")],
        },
        "tokens": _tokens(counted),
        "cost_usd": _cost(counted),
        "time_to_first_token_ms": _quantiles(first_ms),
        "total_ms": _quantiles(total_ms),
        "errors": dict(errors),
    }


def _provider(name: str, statuses: Counter[str], rows: Sequence[Any]) -> dict[str, Any]:
    own = [row for row in rows if row["provider"] == name]
    return {**statuses, **_sums(own)}


def _by(rows: Sequence[Any], *names: str) -> list[tuple[tuple[Any, ...], list[Any]]]:
    """Rows that have these columns in common, in their order."""
    found: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return sorted(found.items(), key=itemgetter(0))


def _sums(rows: Sequence[Any]) -> dict[str, Any]:
    return {"total": sum(row["turns"] for row in rows), "tokens": _tokens(rows), "cost_usd": _cost(rows)}


def _tokens(rows: Sequence[Any]) -> dict[str, int]:
    return {kind: sum(int(row[f"{kind}_tokens"] or 0) for row in rows) for kind in _TOKENS}


def _cost(rows: Sequence[Any]) -> float:
    return round(sum(row["cost_usd"] or 0.0 for row in rows), 10)


def _quantiles(values: Sequence[float | None] | None) -> dict[str, float | None]:
    found = values or (None, None, None)
    return {name: None if value is None else round(value, 1) for name, value in zip(_QUANTILES, found, strict=True)}
