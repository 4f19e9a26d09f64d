"""Rate limits: in memory, in a real Redis, and when that Redis goes away."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.access.callers import ADMIN, Caller
from gateway.access.quota import OverLimit, Quota, limit_headers, tightest
from gateway.access.rates import RateLimits
from gateway.access.windows import LocalWindows
from gateway.core.rates import parse_rates
from gateway.store.shared_windows import SharedWindows
from tests.redis_server import RedisServer, running_redis

AISHA = Caller("user", "user:7")
APP = Caller("key", "key:app")


def limits(
    users: str = "20/minute", keys: str = "", sign_in: str = "10/minute", resume: str = "120/minute", redis: str | None = None
) -> RateLimits:
    return RateLimits(
        users=parse_rates(users),
        keys=parse_rates(keys),
        sign_in=parse_rates(sign_in),
        resume=parse_rates(resume),
        shared=SharedWindows(redis) if redis else None,
    )


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    redis_server.ask("FLUSHALL")
    return redis_server.url


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest, redis_url: str) -> str | None:
    return redis_url if request.param == "redis" else None


async def passes(rates: RateLimits, caller: Caller, times: int) -> int:
    outcomes = await asyncio.gather(*(rates.turn(caller) for _ in range(times)), return_exceptions=True)
    unexpected = [outcome for outcome in outcomes if isinstance(outcome, BaseException) and not isinstance(outcome, OverLimit)]
    assert unexpected == []
    return sum(isinstance(outcome, Quota) for outcome in outcomes)


async def test_so_many_pass_at_once_and_no_more(url: str | None) -> None:
    rates = limits(redis=url)
    try:
        assert await passes(rates, AISHA, 50) == 20
        assert await passes(rates, Caller("user", "user:8"), 5) == 5
    finally:
        await rates.close()


async def test_what_is_left_is_told(url: str | None) -> None:
    rates = limits(users="2/minute", redis=url)
    try:
        first, second = await rates.turn(AISHA), await rates.turn(AISHA)
        assert first is not None
        assert second is not None
        assert (first.limit, first.remaining, second.remaining) == (2, 1, 0)
        assert 55 <= second.reset_s <= 60
        with pytest.raises(OverLimit) as refused:
            await rates.turn(AISHA)
    finally:
        await rates.close()
    error = refused.value
    assert (error.code, error.status, error.quota.remaining) == ("rate_limited", 429, 0)
    assert error.retry_after == error.quota.reset_s
    assert limit_headers(error.quota) == {
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(error.quota.reset_s),
    }


async def test_of_several_rates_the_tightest_is_told(url: str | None) -> None:
    rates = limits(users="3/second;2/hour", redis=url)
    try:
        quota = await rates.turn(AISHA)
        assert quota is not None
        assert (quota.limit, quota.remaining) == (2, 1)
        await rates.turn(AISHA)
        with pytest.raises(OverLimit) as refused:
            await rates.turn(AISHA)
        assert refused.value.quota.limit == 2
    finally:
        await rates.close()


async def test_replicas_share_a_limit_through_redis(redis_url: str) -> None:
    replicas = [limits(users="300/minute", redis=redis_url), limits(users="300/minute", redis=redis_url)]
    try:
        assert sum(await asyncio.gather(*(passes(replica, AISHA, 250) for replica in replicas))) == 300
    finally:
        for replica in replicas:
            await replica.close()


async def test_a_redis_that_goes_away_takes_nobody_with_it() -> None:
    with running_redis() as server:
        rates = limits(users="3/minute", redis=server.url)
        try:
            assert await rates.turn(AISHA) is not None
            server.kill()
            assert await passes(rates, AISHA, 10) == 3
        finally:
            await rates.close()


async def test_a_redis_that_was_never_there() -> None:
    rates = limits(users="3/minute", redis="redis://127.0.0.1:1/0")
    try:
        assert await passes(rates, AISHA, 10) == 3
    finally:
        await rates.close()


async def test_connections_that_redis_closed_are_opened_again(redis_server: RedisServer, redis_url: str) -> None:
    rates = limits(users="3/minute", redis=redis_url)
    try:
        await rates.turn(AISHA)
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await rates.turn(AISHA)
        assert await passes(rates, AISHA, 5) == 1
    finally:
        await rates.close()


async def test_who_has_which_limit() -> None:
    rates = limits(users="1/minute", keys="2/minute", resume="1/hour")
    for caller, allowed in ((AISHA, 1), (APP, 2)):
        assert await passes(rates, caller, 5) == allowed
        await rates.resume(caller)
        with pytest.raises(OverLimit):
            await rates.resume(caller)
    for caller in (ADMIN, Caller("anonymous")):
        assert [await rates.turn(caller) for _ in range(5)] == [None] * 5
        assert [await rates.resume(caller) for _ in range(5)] == [None] * 5
    assert await limits(keys="").turn(APP) is None


async def test_signing_in_is_counted_by_address() -> None:
    rates = limits(sign_in="1/minute")
    await rates.sign_in("198.51.100.1")
    await rates.sign_in("198.51.100.2")
    await rates.sign_in("2001:db8::1")
    for address in ("198.51.100.1", "2001:db8::2"):
        with pytest.raises(OverLimit):
            await rates.sign_in(address)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_window_moves() -> None:
    clock = Clock()
    windows, (rate,) = LocalWindows(clock=clock), parse_rates("3/minute")
    for left in (2, 1, 0):
        assert windows.hit([rate], "a") == [(True, left, 1060.0 - clock.now)]
        clock.now += 10
    assert windows.hit([rate], "a") == [(False, 0, 30.0)]
    clock.now = 1060.0
    assert windows.hit([rate], "a") == [(True, 0, 10.0)]
    assert windows.hit([rate], "a") == [(False, 0, 10.0)]


def test_memory_is_bounded_and_the_longest_unhit_goes_first() -> None:
    windows, five, ten = LocalWindows(max_hits=100), parse_rates("5/minute"), parse_rates("10/minute")
    for number in range(1000):
        windows.hit(five, f"address-{number}")
        windows.hit(ten, "busy")
    assert windows.size <= 100
    [(passed, *_)] = windows.hit(ten, "busy")
    assert not passed
    [(passed, left, _)] = windows.hit(five, "address-0")
    assert (passed, left) == (True, 4)


def test_the_tightest_quota() -> None:
    day, minute = Quota(30, 4, 7000), Quota(20, 4, 60)
    assert tightest(None, minute, day) == day
    assert tightest(Quota(9, 1, 5), day) == Quota(9, 1, 5)
    assert tightest(None) is None
    assert limit_headers(None) == {}
