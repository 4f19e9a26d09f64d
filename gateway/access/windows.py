"""Moving windows of the `limits` library: in memory, within bounds, or in Redis for all replicas together."""

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as SharedLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_HITS: Final = 200_000
_PREFIX: Final = "m3ajem:limits"
_REDIS_WAIT_S: Final = 0.5
_REDIS_CONNECTIONS: Final = 16


class Windows(Protocol):
    """Counts hits of one name against one rate."""

    async def hit(self, rate: RateLimitItem, name: str) -> tuple[bool, int, float]:
        """Whether there was room for one more, how many remain, and when (Unix seconds) the oldest leaves the window."""
        ...


class LocalWindows:
    """Windows of this process: times of hits by name, the name hit last at the end; over `max_hits` times in all, the longest
    unhit names are forgotten. (The library's own memory has no bound, and its limiter costs five times as much.)"""

    def __init__(self, max_hits: int = MAX_HITS, clock: Callable[[], float] = time.time) -> None:
        self._max_hits = max_hits
        self._clock = clock
        self._hits: OrderedDict[str, list[float]] = OrderedDict()
        self.size = 0

    async def hit(self, rate: RateLimitItem, name: str) -> tuple[bool, int, float]:
        """See `Windows`."""
        now, limit, length_s = self._clock(), rate.amount, rate.get_expiry()
        key = f"{limit}/{length_s}/{name}"
        hits = self._hits.get(key)
        if hits is None:
            hits = self._hits[key] = []
        gone = bisect_right(hits, now - length_s)
        del hits[:gone]
        self.size -= gone
        passed = len(hits) < limit
        if passed:
            hits.append(now)
            self.size += 1
        self._hits.move_to_end(key)
        while self.size > self._max_hits and len(self._hits) > 1:
            self.size -= len(self._hits.popitem(last=False)[1])
        return passed, limit - len(hits), hits[0] + length_s


class RedisWindows:
    """Windows that all replicas share. `hit` raises `redis.RedisError` or `OSError` within about a second."""

    def __init__(self, url: str) -> None:
        """Connects when first used. Raises `ValueError` for an address that is none."""
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_REDIS_CONNECTIONS,
            timeout=_REDIS_WAIT_S,
            socket_timeout=_REDIS_WAIT_S,
            socket_connect_timeout=_REDIS_WAIT_S,
            # A connection that Redis has closed meanwhile is opened again at once.
            retry=Retry(NoBackoff(), 1),
        )
        options: dict[str, Any] = {"connection_pool": self._pool}
        self._limiter = SharedLimiter(RedisStorage("async+redis://", implementation="redispy", key_prefix=_PREFIX, **options))

    async def hit(self, rate: RateLimitItem, name: str) -> tuple[bool, int, float]:
        """See `Windows`."""
        passed = await self._limiter.hit(rate, name)
        stats = await self._limiter.get_window_stats(rate, name)
        return passed, stats.remaining, stats.reset_time

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()
