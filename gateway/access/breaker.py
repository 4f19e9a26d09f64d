"""Not asking again, for a moment, what has just failed to answer."""

import time
from collections.abc import Callable


class Breaker:
    """Open for `seconds` after each failure, so that an outage costs one wait and not one per request."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether it is too early to ask again."""
        return self._clock() < self._until

    def trip(self) -> None:
        """Note a failure."""
        self._until = self._clock() + self._seconds
