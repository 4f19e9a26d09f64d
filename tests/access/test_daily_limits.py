"""Daily limits against a real PostgreSQL."""

import asyncio
from datetime import date

import pytest

from gateway.access.callers import Caller
from gateway.access.daily import DailyLimits, Reservation
from gateway.access.quota import OverLimit
from gateway.access.sql import Database
from gateway.store.base import StoreUnavailable
from tests.access.databases import OwnDatabase, Switch

NOON = 1_763_812_800.0  # 2025-11-22 12:00 UTC
DAY = date(2025, 11, 22)
AISHA = Caller("user", "user:7")


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def limits(database: Database, clock: Clock | None = None, user_limit: int = 30, key_limit: int = 0) -> DailyLimits:
    return DailyLimits(database, user_limit=user_limit, key_limit=key_limit, clock=clock or Clock())


async def taken(daily: DailyLimits, caller: Caller = AISHA) -> Reservation:
    reservation = await daily.reserve(caller)
    assert reservation is not None
    return reservation


async def count_of(database: OwnDatabase, caller: str = "user:7", day: date = DAY) -> int | None:
    rows = await database.rows("SELECT count FROM daily_usage WHERE caller = $1 AND day = $2", caller, day)
    return rows[0]["count"] if rows else None


async def test_200_at_once_on_a_limit_of_30_give_exactly_30_over_two_pools(database: OwnDatabase) -> None:
    replicas = [limits(database.pool()), limits(database.pool())]
    outcomes = await asyncio.gather(*(replicas[n % 2].reserve(AISHA) for n in range(200)), return_exceptions=True)
    passed = [outcome for outcome in outcomes if isinstance(outcome, Reservation)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverLimit)]
    assert (len(passed), len(refused)) == (30, 170)
    assert sorted(reservation.quota.remaining for reservation in passed) == list(range(30))
    assert await count_of(database) == 30


async def test_after_a_restart_the_count_stands(database: OwnDatabase) -> None:
    before = limits(database.pool(), user_limit=3)
    for _ in range(3):
        await before.reserve(AISHA)
    await before.close()
    after = limits(database.pool(), user_limit=3)
    with pytest.raises(OverLimit) as refused:
        await after.reserve(AISHA)
    assert (refused.value.code, refused.value.status) == ("daily_limit_reached", 429)
    assert await after.used("user:7") == 3


async def test_the_day_ends_at_midnight_utc(database: OwnDatabase) -> None:
    clock = Clock(NOON + 12 * 3600 - 90)
    daily = limits(database.pool(), clock, user_limit=1)
    assert (await taken(daily)).quota.reset_s == 90
    with pytest.raises(OverLimit) as refused:
        await daily.reserve(AISHA)
    assert refused.value.retry_after == 90
    assert refused.value.quota.limit == 1
    assert refused.value.quota.remaining == 0
    clock.now += 90
    assert (await taken(daily)).quota.reset_s == 86_400


async def test_callers_are_counted_apart_and_only_where_they_have_a_limit(database: OwnDatabase) -> None:
    daily = limits(database.pool(), user_limit=1, key_limit=2)
    await taken(daily)
    await taken(daily, Caller("user", "user:8"))
    for _ in range(2):
        await taken(daily, Caller("key", "key:app"))
    with pytest.raises(OverLimit):
        await daily.reserve(Caller("key", "key:app"))
    assert await daily.reserve(Caller("anonymous")) is None
    assert await daily.reserve(Caller("admin", "admin", reads_everything=True)) is None
    assert await limits(database.pool(), user_limit=0).reserve(AISHA) is None


async def test_a_refund_gives_back_exactly_one(database: OwnDatabase) -> None:
    daily = limits(database.pool(), user_limit=2)
    first = await taken(daily)
    await taken(daily)
    daily.refund(first)
    daily.refund(first)
    assert await daily.used("user:7") == 1
    await taken(daily)
    with pytest.raises(OverLimit):
        await daily.reserve(AISHA)
    assert await count_of(database) == 2


async def test_refunds_reach_the_database_by_themselves(database: OwnDatabase) -> None:
    switch = Switch(database.pool())
    daily = limits(switch)
    daily.start()
    try:
        reservation = await taken(daily)
        switch.asked.clear()
        daily.refund(reservation)
        await switch.asked.wait()
        assert await count_of(database) == 0
    finally:
        await daily.close()


async def test_without_the_database_questions_are_counted_here(database: OwnDatabase) -> None:
    switch = Switch(database.pool())
    daily = limits(switch, user_limit=5)
    await taken(daily)
    await taken(daily)
    switch.away = True
    kept = [await taken(daily) for _ in range(3)]
    assert [reservation.quota.remaining for reservation in kept] == [2, 1, 0]
    assert not any(reservation.counted for reservation in kept)
    with pytest.raises(OverLimit):
        await daily.reserve(AISHA)
    assert await count_of(database) == 2


async def test_what_was_counted_here_counts_before_anybody_reserves_again(database: OwnDatabase) -> None:
    switch = Switch(database.pool())
    daily = limits(switch, user_limit=3)
    switch.away = True
    kept = [await taken(daily) for _ in range(3)]
    daily.refund(kept[0])
    switch.away = False
    daily._breaker.worked()
    assert await daily.used("user:7") == 2
    assert (await taken(daily)).quota.remaining == 0
    with pytest.raises(OverLimit):
        await daily.reserve(AISHA)
    assert await count_of(database) == 1


async def test_refunds_that_cannot_be_settled_wait(database: OwnDatabase) -> None:
    switch = Switch(database.pool())
    daily = limits(switch)
    reservation = await taken(daily)
    switch.away = True
    daily.refund(reservation)
    with pytest.raises(StoreUnavailable):
        await daily.settle()
    await daily.close()
    switch.away = False
    await daily.settle()
    await daily.settle()
    assert await count_of(database) == 0


async def test_many_callers_are_settled_together(database: OwnDatabase) -> None:
    daily = limits(database.pool())
    for reservation in await asyncio.gather(*(taken(daily, Caller("user", f"user:{number}")) for number in range(600))):
        daily.refund(reservation)
    await daily.settle()
    rows = await database.rows("SELECT count(*), sum(count) FROM daily_usage")
    assert tuple(rows[0]) == (600, 0)


async def test_long_gone_days_are_forgotten(database: OwnDatabase) -> None:
    clock = Clock()
    daily = limits(database.pool(), clock)
    await taken(daily)
    clock.now += 39 * 86_400
    await daily.prune()
    assert await count_of(database) == 1
    clock.now += 2 * 86_400
    await daily.prune()
    assert await count_of(database) is None
