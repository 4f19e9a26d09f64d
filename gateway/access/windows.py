"""Moving windows of this process, within bounds."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.core.rates import Rate

MAX_HITS: Final = 200_000

Hits = Sequence[tuple[bool, int, float]]


class SharedWindows(Protocol):
    """Those that several processes count in. `hit` raises `RelayUnavailable` when they cannot be reached."""

    async def hit(self, rates: Sequence[Rate], name: str) -> Hits:
        """See `LocalWindows`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class LocalWindows:
    """Windows of this process: times of hits by name, the name hit last at the end; over `max_hits` times in all, the longest
    unhit names are forgotten."""

    def __init__(self, max_hits: int = MAX_HITS, clock: Callable[[], float] = time.time) -> None:
        self._max_hits = max_hits
        self._clock = clock
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()
        self.size = 0

    def hit(self, rates: Sequence[Rate], name: str) -> Hits:
        """Count a hit of one name. For each rate, up to the first that is used up: whether there was room for one more, how many
        remain, and in how many seconds the oldest leaves the window."""
        found = []
        for rate in rates:
            found.append(self._hit(rate, name))
            if not found[-1][0]:
                break
        return found

    def _hit(self, rate: Rate, name: str) -> tuple[bool, int, float]:
        now, limit, length_s = self._clock(), rate.amount, rate.seconds
        key = f"{limit}/{length_s}/{name}"
        hits = self._hits.get(key)
        if hits is None:
            hits = self._hits[key] = deque()
        while hits and hits[0] <= now - length_s:
            hits.popleft()
            self.size -= 1
        passed = len(hits) < limit
        if passed:
            hits.append(now)
            self.size += 1
        self._hits.move_to_end(key)
        while self.size > self._max_hits and len(self._hits) > 1:
            self.size -= len(self._hits.popitem(last=False)[1])
        return passed, limit - len(hits), hits[0] + length_s - now
