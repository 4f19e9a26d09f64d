"""Why and how long one key rests, by model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

RestKind = Literal["low", "limited", "quota", "refused"]

ANY: Final = ""
_ASIDE: Final = ("quota", "refused")
_WEIGHT: Final[dict[RestKind, int]] = {"low": 0, "limited": 1, "quota": 2, "refused": 3}


@dataclass(frozen=True, slots=True)
class RestPolicy:
    """Seconds of rest.

    `limited_s`: behind a limit whose reset the provider did not tell, twice as long each time it happens again. `max_s`: the
    longest rest without asking again. `aside_s`: how long a refused key is set aside, twice as long after each further
    refusal, at most `aside_max_s`.
    """

    limited_s: float = 1.0
    max_s: float = 60.0
    aside_s: float = 120.0
    aside_max_s: float = 900.0


@dataclass(slots=True)
class Rest:
    """`until` is on the pool's clock; `probing` while one call finds out whether the key works again."""

    kind: RestKind
    until: float
    strikes: int
    probing: bool = False

    def holds(self, now: float) -> bool:
        """Whether calls are kept away: a refused key rests on until a probe has succeeded, a limit ends by itself."""
        return now < self.until or (self.probing and self.kind in _ASIDE)


class Rests:
    """The rests of one key. `ANY` instead of a model: the whole key rests."""

    __slots__ = ("_clock", "_policy", "_rests")

    def __init__(self, policy: RestPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._rests: dict[str, Rest] = {}

    def __bool__(self) -> bool:
        return bool(self._rests)

    def active(self, model: str) -> Rest | None:
        """The rest that keeps calls of `model` away now."""
        now = self._clock()
        for name in (ANY, model):
            rest = self._rests.get(name)
            if rest is not None and rest.holds(now):
                return rest
        return None

    def worst(self) -> Rest | None:
        """The gravest rest of any model, for operators; a refusal counts until a probe succeeds."""
        now = self._clock()
        found = [rest for rest in self._rests.values() if rest.kind in _ASIDE or now < rest.until]
        return max(found, key=lambda rest: _WEIGHT[rest.kind], default=None)

    def left(self, rest: Rest) -> float:
        """Seconds until it ends."""
        return max(0.0, rest.until - self._clock())

    def limit(self, model: str, seconds: float | None) -> None:
        """The provider said that the key is at its limit, for `seconds` if it told."""
        strikes = self._strikes(model, "limited")
        told = self._policy.limited_s * 2.0 ** min(strikes, 16) if seconds is None else seconds
        self._rest(model, "limited", min(told, self._policy.max_s), strikes)

    def spend(self, model: str, seconds: float) -> None:
        """A good reply said that nothing of a limit is left: others are asked first until it is reset."""
        if self.active(model) is None:
            self._rest(model, "low", min(seconds, self._policy.max_s), 0)

    def set_aside(self, model: str, kind: Literal["refused", "quota"]) -> bool:
        """The provider refused the key (for a model, or `ANY`); True when that is news."""
        news = model not in self._rests or self._rests[model].kind != kind
        strikes = self._strikes(model, kind)
        self._rest(model, kind, min(self._policy.aside_s * 2.0 ** min(strikes, 16), self._policy.aside_max_s), strikes)
        return news

    def probed(self, model: str) -> bool:
        """Whether a call is finding out just now whether a resting key works again."""
        if not self._rests:
            return False
        now = self._clock()
        found = (self._rests.get(name) for name in (ANY, model))
        return any(rest is not None and rest.probing and rest.holds(now) for rest in found)

    def probe(self, model: str) -> bool:
        """A call begins; True when the key was refused before, or rests: the call finds out whether it works again."""
        now = self._clock()
        rests = [rest for name in (ANY, model) if (rest := self._rests.get(name))]
        found = [rest for rest in rests if rest.kind in _ASIDE or (rest.kind == "limited" and now < rest.until)]
        for rest in found:
            rest.probing = True
        return bool(found)

    def probe_ended(self, model: str, *, worked: bool) -> None:
        """The probe ended; the key `worked`, or nothing is known."""
        for name in (ANY, model):
            rest = self._rests.get(name)
            if rest is not None and rest.probing:
                rest.probing = False
                if worked:
                    del self._rests[name]

    def worked(self, model: str) -> None:
        """A call was answered: limits that are over are forgotten."""
        rest = self._rests.get(model)
        if rest is not None and rest.kind in ("low", "limited") and self._clock() >= rest.until:
            del self._rests[model]

    def _strikes(self, model: str, kind: RestKind) -> int:
        """How often in a row; calls that were under way together are one time."""
        before = self._rests.get(model)
        if before is None or before.kind != kind:
            return 0
        return before.strikes + (before.probing or self._clock() >= before.until)

    def _rest(self, model: str, kind: RestKind, seconds: float, strikes: int) -> None:
        self._rests[model] = Rest(kind, self._clock() + seconds, strikes)
