"""Moving windows of the `limits` library: in memory, within bounds, or in Redis for all replicas together."""

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as SharedLimiter
from limits.storage import MovingWindowSupport, Storage
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


class HitMemory(Storage, MovingWindowSupport):
    """Times of hits by key, the most recently hit key last; over `max_hits` times in all, the longest unhit keys are
    forgotten. (The library's own memory has no bound.)"""

    STORAGE_SCHEME = None

    def __init__(self, max_hits: int = MAX_HITS, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._max_hits = max_hits
        self._clock = clock
        self._hits: OrderedDict[str, list[float]] = OrderedDict()
        self.size = 0

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add `amount` hits to the key's window of `expiry` seconds, if they fit into `limit`."""
        now = self._clock()
        hits = self._window(key, now - expiry)
        if len(hits) + amount > limit:
            return False
        hits.extend([now] * amount)
        self.size += amount
        self._hits[key] = hits
        self._hits.move_to_end(key)
        while self.size > self._max_hits and len(self._hits) > 1:
            self.size -= len(self._hits.popitem(last=False)[1])
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest hit in the window was, and how many there are."""
        now = self._clock()
        hits = self._window(key, now - expiry)
        return (hits[0], len(hits)) if hits else (now, 0)

    def _window(self, key: str, since: float) -> list[float]:
        hits = self._hits.get(key)
        if hits is None:
            return []
        gone = bisect_right(hits, since)
        del hits[:gone]
        self.size -= gone
        return hits

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Nothing here fails."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows are not counted here."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """How many hits are known."""
        return len(self._hits.get(key, ()))

    def get_expiry(self, key: str) -> float:
        """Fixed windows are not counted here."""
        raise NotImplementedError

    def check(self) -> bool:
        """Always well."""
        return True

    def reset(self) -> int:
        """Forget everything; return how many keys there were."""
        keys = len(self._hits)
        self._hits.clear()
        self.size = 0
        return keys

    def clear(self, key: str) -> None:
        """Forget a key."""
        self.size -= len(self._hits.pop(key, ()))


class LocalWindows:
    """Windows of this process."""

    def __init__(self, memory: HitMemory | None = None) -> None:
        self._memory = memory or HitMemory()

    async def hit(self, rate: RateLimitItem, name: str) -> tuple[bool, int, float]:
        """See `Windows`. What the library's limiter would do, which costs five times as much around the same two calls."""
        limit, expiry = rate.amount, rate.get_expiry()
        key = f"{limit}/{expiry}/{name}"
        passed = self._memory.acquire_entry(key, limit, expiry)
        oldest, hits = self._memory.get_moving_window(key, limit, expiry)
        return passed, limit - hits, oldest + expiry


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
