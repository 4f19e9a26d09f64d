"""The keys of one provider: which one a call takes, and what its end says about that key.

Calls are spread by least in flight. A key at its limit rests until the reset the provider named, for the model in question
alone (limits are per model); a refused key is set aside and tried again by one call every few minutes; a key whose calls
fail on the provider's side is kept from calls by its circuit breaker. Keys are known by name (`openai#2`), never by value.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import UpstreamError
from gateway.engine.breaker import Breaker, BreakerPolicy
from gateway.engine.lease import Lease
from gateway.engine.rests import RestPolicy, Rests

_USABLE: Final = {None: 0, "low": 1}
_AS_A_LAST_RESORT: Final = {**_USABLE, "broken": 2, "limited": 3, "quota": 4, "refused": 5}


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """A key as operators see it: `up`, `limited`, `refused`, `quota`, `open` or `half_open`; `rest_s` until that may change."""

    name: str
    state: str
    in_flight: int
    rest_s: float


class Key:
    """One key of a provider."""

    __slots__ = ("breaker", "in_flight", "name", "rests", "secret")

    def __init__(self, name: str, secret: str, breaker: Breaker, rests: Rests) -> None:
        self.name = name
        self.secret = secret
        self.breaker = breaker
        self.rests = rests
        self.in_flight = 0

    def obstacle(self, model: str) -> str | None:
        """What speaks against a call now: `limited`, `low`, `refused`, `quota`, `broken`, or nothing."""
        rest = self.rests.active(model) if self.rests else None
        if rest is not None and rest.kind != "low":
            return rest.kind
        if not self.breaker.ready():
            return "broken"
        return rest.kind if rest is not None else None

    def health(self) -> KeyHealth:
        """The key as operators see it."""
        rest = self.rests.worst()
        if rest is not None and rest.kind != "low":
            return KeyHealth(self.name, rest.kind, self.in_flight, self.rests.left(rest))
        state = self.breaker.state
        return KeyHealth(self.name, "up" if state == "closed" else state, self.in_flight, 0.0)


class KeyPool:
    """The keys of one provider, in the order given."""

    def __init__(
        self,
        provider: str,
        secrets: Sequence[str],
        breaker: BreakerPolicy | None = None,
        rest: RestPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        breaker, rest = breaker or BreakerPolicy(), rest or RestPolicy()
        self.keys = tuple(
            Key(f"{provider}#{number}", secret, Breaker(breaker, clock), Rests(rest, clock))
            for number, secret in enumerate(secrets, 1)
        )
        self._next = 0

    def take(
        self, model: str, tried: Collection[str] = (), *, untried_only: bool = False, last_resort: bool = False
    ) -> Lease | None:
        """Take the key with the least in flight, rather one not among the names `tried`; None when all rest.

        `last_resort`: nobody else can serve the turn, so that even a key that keeps failing is better than none, and one that
        rests may be asked by one call at a time.
        """
        ranks = _AS_A_LAST_RESORT if last_resort else _USABLE
        best: tuple[tuple[int, bool, int], Key, str | None] | None = None
        for key in self._rotated():
            if untried_only and key.name in tried:
                continue
            obstacle = key.obstacle(model)
            if obstacle in ranks and not key.rests.probed(model):
                order = (ranks[obstacle], key.name in tried, key.in_flight)
                if best is None or order < best[0]:
                    best = order, key, obstacle
        return None if best is None else Lease(best[1], model, forced=best[2] == "broken")

    def wait(self, model: str) -> float | None:
        """Seconds until the first key at its limit is free again; None when no key rests for that."""
        waits = [key.rests.left(rest) for key in self.keys if (rest := key.rests.active(model)) and rest.kind == "limited"]
        return min(waits, default=None)

    def blocked(self, model: str) -> UpstreamError:
        """Why no key could be taken."""
        obstacles = {key.obstacle(model) for key in self.keys}
        wait = self.wait(model)
        if wait is not None:
            detail = "The provider is busy; please try again shortly."
            return UpstreamError("provider_overloaded", detail, kind="rate_limited", retry_after=wait)
        if "quota" in obstacles:
            detail = "The gateway's quota at the provider is used up."
            return UpstreamError("provider_overloaded", detail, kind="quota", retryable=False)
        if "refused" in obstacles:
            detail = "The provider refused the gateway's own access."
            return UpstreamError("provider_error", detail, kind="key_refused", retryable=False)
        return UpstreamError("provider_error", "The provider is failing; please try again shortly.", kind="server")

    def health(self) -> tuple[KeyHealth, ...]:
        """Every key as operators see it."""
        return tuple(key.health() for key in self.keys)

    def _rotated(self) -> Sequence[Key]:
        """The keys, beginning with another one each time, so that idle ones take turns."""
        if len(self.keys) == 1:
            return self.keys
        self._next = (self._next + 1) % len(self.keys)
        return self.keys[self._next :] + self.keys[: self._next]
