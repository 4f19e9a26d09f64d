"""Moving windows in a real Redis: what counts is what happened within a rate's length, by Redis's clock."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.rates import parse_rates
from gateway.store.base import RelayUnavailable
from gateway.store.shared_windows import SharedWindows
from tests.redis_server import RedisServer

MINUTE_MS = 60_000
# Far from where a slow machine could make a difference.
MARGIN_MS = 20_000


@pytest.fixture
async def windows(server: RedisServer) -> AsyncIterator[SharedWindows]:
    server.ask("FLUSHALL")
    opened = SharedWindows(server.url)
    yield opened
    await opened.close()


def now_ms(server: RedisServer) -> int:
    time = server.ask("TIME")
    assert isinstance(time, tuple | list)
    return int(time[0]) * 1000 + int(time[1]) // 1000


def the_key(server: RedisServer) -> str:
    keys = server.ask("KEYS", "*")
    assert isinstance(keys, list)
    [key] = keys
    return bytes(key).decode()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=st.lists(st.integers(0, 2 * MINUTE_MS).filter(lambda age: abs(age - MINUTE_MS) > MARGIN_MS), max_size=40))
async def test_what_is_older_than_the_window_does_not_count(server: RedisServer, ages: list[int]) -> None:
    server.ask("FLUSHALL")
    windows, limit = SharedWindows(server.url), 12
    try:
        await windows.hit(parse_rates(f"{limit}/minute"), "a")
        key, now = the_key(server), now_ms(server)
        server.ask("DEL", key)
        if ages:
            server.ask("RPUSH", key, *(str(now - age) for age in sorted(ages, reverse=True)))
        staying = [age for age in ages if age < MINUTE_MS]
        [(passed, left, reset_s)] = await windows.hit(parse_rates(f"{limit}/minute"), "a")
    finally:
        await windows.close()
    assert passed == (len(staying) < limit)
    assert left == limit - len(staying) - passed
    assert 60 - max(staying, default=0) / 1000 - MARGIN_MS / 1000 < reset_s <= 60 - max(staying, default=0) / 1000
    assert server.ask("LLEN", key) == len(staying) + passed


async def test_a_full_window_counts_nothing(windows: SharedWindows, server: RedisServer) -> None:
    found = [(await windows.hit(parse_rates("2/hour"), "a"))[0][:2] for _ in range(5)]
    assert found == [(True, 1), (True, 0), (False, 0), (False, 0), (False, 0)]
    assert server.ask("LLEN", the_key(server)) == 2


async def test_of_several_rates_those_behind_a_full_one_are_not_hit(windows: SharedWindows) -> None:
    both = parse_rates("1/hour;5/day")
    assert [hit[:2] for hit in await windows.hit(both, "a")] == [(True, 0), (True, 4)]
    assert [hit[:2] for hit in await windows.hit(both, "a")] == [(False, 0)]
    assert [hit[:2] for hit in await windows.hit(both[1:], "a")] == [(True, 3)]
    assert [hit[:2] for hit in await windows.hit(both, "محادثة")] == [(True, 0), (True, 4)]


async def test_windows_expire_by_themselves(windows: SharedWindows, server: RedisServer) -> None:
    await windows.hit(parse_rates("2/hour"), "a")
    left = server.ask("PTTL", the_key(server))
    assert isinstance(left, int)
    assert 60 * MINUTE_MS - MARGIN_MS < left <= 60 * MINUTE_MS


async def test_a_redis_that_forgot_the_script_is_told_it(windows: SharedWindows, server: RedisServer) -> None:
    for left in (2, 1):
        server.ask("SCRIPT", "FLUSH")
        assert (await windows.hit(parse_rates("3/hour"), "a"))[0][:2] == (True, left)


async def test_what_redis_refuses_is_told(windows: SharedWindows, server: RedisServer) -> None:
    await windows.hit(parse_rates("3/hour"), "a")
    key = the_key(server)
    server.ask("DEL", key)
    server.ask("SET", key, "no list")
    with pytest.raises(RelayUnavailable):
        await windows.hit(parse_rates("3/hour"), "a")
