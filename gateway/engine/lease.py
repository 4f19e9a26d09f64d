"""One call's hold on a key."""

import logging
from typing import Literal, Protocol, assert_never

from gateway.core.errors import UpstreamError
from gateway.engine.breaker import Breaker
from gateway.engine.rests import ANY, Rests

log = logging.getLogger(__name__)


class Held(Protocol):
    """What a lease holds: a key of a pool."""

    name: str
    secret: str
    breaker: Breaker
    rests: Rests
    in_flight: int


class Lease:
    """A key in use, from before the call until one of `succeeded`, `failed` or `release`; the first of them counts.

    `forced`: taken although the breaker is open, as there was nobody else to ask.
    """

    __slots__ = ("_ended", "_key", "_model", "_role", "forced", "probing")

    def __init__(self, key: Held, model: str, *, forced: bool) -> None:
        self.forced = forced
        self._key = key
        self._model = model
        self._ended = False
        self._role: Literal["plain", "probe", "forced"] = "forced" if forced else "plain"
        if not forced and not key.breaker.closed and key.breaker.admit():
            self._role = "probe"
        self.probing = self._role != "plain"
        if key.rests and key.rests.probe(model):
            self.probing = True
        key.in_flight += 1

    @property
    def name(self) -> str:
        """The key's name, such as `openai#2`."""
        return self._key.name

    @property
    def secret(self) -> str:
        """The key itself."""
        return self._key.secret

    def spent(self, seconds: float | None) -> None:
        """A good reply's head said that a limit is used up, to be reset in so many seconds."""
        if seconds is not None:
            self._key.rests.spend(self._model, seconds)

    def spoke(self) -> None:
        """The first output of a probe: the provider works again, however long the reply will be."""
        self._works()

    def succeeded(self) -> None:
        """The call was answered."""
        if not self._ended:
            self._works()
            self._key.breaker.succeeded()
            self.release()

    def failed(self, error: UpstreamError) -> None:
        """The call failed; what kind of failure decides what becomes of the key."""
        if self._ended:
            return
        key = self._key
        match error.kind:
            case "rate_limited":
                key.rests.limit(self._model, error.retry_after)
            case "key_refused":
                # 403 is about what is asked for, 401 (Gemini: 400) about the key itself.
                self._set_aside(self._model if error.upstream_status == 403 else ANY, "refused")
            case "quota":
                self._set_aside(ANY, "quota")
            case "rejected":
                self._works()
            case "overloaded" | "server" | "broken" | "timeout" | "connect":
                self._count_failure()
            case _:
                assert_never(error.kind)
        self.release()

    def release(self) -> None:
        """The call is over; without a verdict the next call is the probe."""
        if self._ended:
            return
        self._ended = True
        self._key.in_flight -= 1
        if self._role == "probe":
            self._key.breaker.probe_dropped()
        if self.probing:
            self._key.rests.probe_ended(self._model, worked=False)

    def _works(self) -> None:
        key = self._key
        if self._role != "plain":
            self._role = "plain"
            if not key.breaker.closed:
                log.info("a provider answers again", extra={"key": key.name})
            key.breaker.probe_succeeded()
        if key.rests:
            if self.probing:
                key.rests.probe_ended(self._model, worked=True)
            key.rests.worked(self._model)
        self.probing = False

    def _count_failure(self) -> None:
        breaker = self._key.breaker
        opened = breaker.opened
        if self._role == "probe":
            self._role = "plain"
            breaker.probe_failed()
        elif self._role == "plain":
            breaker.failed()
            if breaker.opened != opened:
                log.warning("a provider keeps failing: only probes go there for a while", extra={"key": self._key.name})

    def _set_aside(self, model: str, kind: Literal["refused", "quota"]) -> None:
        if self._key.rests.set_aside(model, kind):
            why = "the provider refused a key" if kind == "refused" else "the quota of a key is used up"
            log.warning(why, extra={"key": self._key.name, "of_model": model or "any"})
