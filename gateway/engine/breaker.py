"""A circuit breaker over a rolling window.

The states are those of M. Nygard, "Release It!" (2007): closed (calls pass), open (none do), half-open (one probe does,
and decides). It opens when, of at least `minimum` calls within `window_s`, `rate` or more have failed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

BreakerState = Literal["closed", "open", "half_open"]

_BUCKETS: Final = 10


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and for how long: `open_s` at first, twice as long after each failed probe, at most `open_max_s`."""

    window_s: float = 60.0
    minimum: int = 8
    rate: float = 0.5
    open_s: float = 5.0
    open_max_s: float = 60.0


class Breaker:
    """Counts how calls ended. Every `admit()` that returned True is answered by one of the methods below it."""

    __slots__ = ("_clock", "_counts", "_open_s", "_policy", "_probing", "_until", "_width", "opened")

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self.opened = 0
        self._policy = policy
        self._clock = clock
        self._width = policy.window_s / _BUCKETS
        self._counts: list[list[int]] = []
        self._open_s = policy.open_s
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._until is None:
            return "closed"
        return "half_open" if self._probing or self._clock() >= self._until else "open"

    @property
    def closed(self) -> bool:
        """Whether calls pass freely."""
        return self._until is None

    def ready(self) -> bool:
        """Whether a call would be admitted."""
        return self._until is None or (not self._probing and self._clock() >= self._until)

    def admit(self) -> bool:
        """Let a call pass, or not; half-open, the caller becomes the one probe."""
        if self._until is None:
            return True
        if not self.ready():
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """A call was answered. Calls that began before the breaker opened say nothing about now."""
        if self._until is None:
            self._bucket()[1] += 1

    def failed(self) -> None:
        """A call failed on the provider's side."""
        if self._until is None:
            self._bucket()[2] += 1
            if self._too_many():
                self._open(self._policy.open_s)

    def probe_succeeded(self) -> None:
        """The probe was answered: close, and begin to count anew."""
        self._until = None
        self._probing = False
        self._counts.clear()

    def probe_failed(self) -> None:
        """The probe failed: stay open, longer than before."""
        self._probing = False
        if self._until is not None:
            self._open(min(self._open_s * 2, self._policy.open_max_s))

    def probe_dropped(self) -> None:
        """The probe ended without telling anything (its turn was stopped): the next call is the probe."""
        self._probing = False

    def _open(self, seconds: float) -> None:
        self._open_s = seconds
        self._until = self._clock() + seconds
        self._counts.clear()
        self.opened += 1

    def _bucket(self) -> list[int]:
        """The newest bucket, `[number, succeeded, failed]`; those that left the window are let go."""
        number = int(self._clock() / self._width)
        counts = self._counts
        if not counts or counts[-1][0] != number:
            counts.append([number, 0, 0])
            while counts[0][0] <= number - _BUCKETS:
                del counts[0]
        return counts[-1]

    def _too_many(self) -> bool:
        failed = sum(bucket[2] for bucket in self._counts)
        total = failed + sum(bucket[1] for bucket in self._counts)
        return total >= self._policy.minimum and failed >= self._policy.rate * total
