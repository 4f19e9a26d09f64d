"""Turns by day: those of days that are over are counted once, the rest each time they are asked for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from gateway.core.jsontext import loads
from gateway.store.pool import Connection, transaction
from gateway.store.queries import QUERIES
from gateway.store.rows import Row

DAY_S: Final = 86_400
_DAY: Final = timedelta(days=1)
_MONTH: Final = timedelta(days=31)
_AT_ONCE: Final = 200
_FAR: Final = timedelta(days=1000)
_WORTH_IT: Final = timedelta(days=3)
_COUNT: Final = QUERIES["days.count"].format(kinds=QUERIES["days.kinds"])
_CLASS: Final = 1.01


def is_midnight(moment: datetime) -> bool:
    """Whether a day begins then."""
    return moment == _midnight(moment)


def spans_days(since: datetime) -> bool:
    """Whether so much has happened since then (UTC, without zone) that it is better added up by day."""
    return _today() - since > _WORTH_IT


async def kinds(connection: Connection, since: datetime) -> list[Row]:
    """Turns that ended since then (UTC, without zone), by day, status, provider, model and error, with their sums; `first_ms`
    and `total_ms` are JSON of how many took about how long (see `quantiles`)."""
    today = _today()
    first = since if is_midnight(since) else _midnight(since) + _DAY
    uncounted = [row["day"] for row in await connection.fetch(QUERIES["days.uncounted"], first, today)]
    for place in range(0, len(uncounted), _AT_ONCE):
        some = uncounted[place : place + _AT_ONCE]
        empty = await _count_empty(connection, some)
        for day in some:
            if day.date() not in empty:
                await _count(connection, day)
    found: list[Row] = []
    if since < first:
        found += await connection.fetch(QUERIES["days.kinds"], since, first)
    found += await connection.fetch(QUERIES["days.counted"], first, today)
    found += await connection.fetch(QUERIES["days.kinds"], today, today + _FAR)
    return found


async def count_one(connection: Connection) -> bool:
    """Count the newest day of the last month that has not been counted; whether there was one."""
    today = _today()
    row = await connection.fetchrow(QUERIES["days.uncounted"], today - _MONTH, today)
    if row is not None:
        await _count(connection, row["day"])
    return row is not None


def quantiles(rows: Iterable[Row], name: str, shares: Sequence[float]) -> list[float | None]:
    """The times, in milliseconds, that these shares of the turns did not exceed; exact to one per cent."""
    classes: Counter[int] = Counter()
    for row in rows:
        if row[name] is not None:
            classes.update({int(one): count for one, count in loads(row[name]).items()})
    ordered = sorted(classes.items())
    return [_quantile(ordered, share * (classes.total() - 1)) for share in shares]


def _quantile(classes: Sequence[tuple[int, int]], place: float) -> float | None:
    passed = 0
    for one, count in classes:
        passed += count
        if passed > place:
            return float(_CLASS**one - 1)
    return None


async def _count_empty(connection: Connection, days: Sequence[datetime]) -> set[date]:
    """Years before the first turn are no reason for thousands of transactions."""
    async with transaction(connection):
        await connection.execute(QUERIES["search.lock"])
        return {row["day"] for row in await connection.fetch(QUERIES["days.count_empty"], days)}


async def _count(connection: Connection, day: datetime) -> None:
    async with transaction(connection):
        await connection.execute(QUERIES["search.lock"])
        await connection.execute(_COUNT, day, day + _DAY)


def _today() -> datetime:
    return _midnight(datetime.now(UTC).replace(tzinfo=None))


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
