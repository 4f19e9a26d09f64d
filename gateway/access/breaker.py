"""Not asking again, for a moment, what has just failed to answer."""

import time
from collections.abc import Callable


class Breaker:
    """After a failure, one caller in `seconds` may try, until one succeeds: an outage costs one wait, not one a request."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._closed_until = float("-inf")
        self._tripped = False

    def lets_try(self) -> bool:
        """Whether the caller may try; it then says `worked` or `failed`."""
        if not self._tripped:
            return True
        now = self._clock()
        if now < self._closed_until:
            return False
        self._closed_until = now + self._seconds
        return True

    def worked(self) -> None:
        """There was an answer."""
        self._tripped = False

    def failed(self) -> bool:
        """There was none. Returns whether that is news."""
        news = not self._tripped
        self._tripped = True
        self._closed_until = self._clock() + self._seconds
        return news
