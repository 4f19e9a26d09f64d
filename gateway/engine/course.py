"""The course of one turn: which call is made next, and when to give up. It decides; making the calls is for `attempts`."""

from collections.abc import Callable
from typing import Final, Literal

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Rerouted
from gateway.core.value import value
from gateway.engine.keys import KeyPool
from gateway.engine.lease import Lease
from gateway.engine.policy import MAX_CONTINUATIONS, MAX_REFUSALS, Policy, fell_silent, worth_repeating
from gateway.engine.routing import Choice, Router
from gateway.engine.trail import Trail
from gateway.providers.base import Route

_RETRY_AFTER_S: Final = 5.0
_RETRY_AFTER_QUOTA_S: Final = 60.0


@value
class Call:
    """Make this call; `mark` tells the client about it, if there is something to tell."""

    stop: Choice
    route: Route
    lease: Lease
    mark: Rerouted | None


@value
class Pause:
    """Wait so many seconds, then ask `resume()`."""

    seconds: float
    mark: Rerouted | None


@value
class GiveUp:
    """Nothing is left to try."""

    error: GatewayError


Step = Call | Pause | GiveUp


class Course:
    """One turn's way along its providers. `broken_off` is the text a continuation goes on from, None before there is one."""

    def __init__(self, router: Router, policy: Policy, choice: Choice, trail: Trail, clock: Callable[[], float]) -> None:
        self.broken_off: str | None = None
        self._router = router
        self._policy = policy
        self._trail = trail
        self._clock = clock
        self._deadline = clock() + policy.turn_timeout_s
        self._stops = router.chain(choice)
        self._place = 0
        self._retries = 0
        self._refusals = 0
        self._silences = 0
        self._continuations = 0
        self._tried: set[str] = set()
        self._error: GatewayError | None = None

    @property
    def over(self) -> bool:
        """Whether the turn's time is up (or will be before anything more can come of it)."""
        return self._clock() >= self._deadline - 0.05

    def first(self) -> Step:
        """How the turn begins."""
        choice = self._stops[0]
        lease = self._pool.take(choice.model)
        return self._enter(0) if lease is None else self._call(lease, None)

    def resume(self) -> Step:
        """After a pause; its mark has told what comes."""
        lease = self._pool.take(self._stop.model, self._tried, last_resort=self._last)
        if lease is not None:
            return self._call(lease, None)
        return self._limited(None)

    def failed(self, call: Call, error: GatewayError, *, spoken: bool) -> Step:
        """`call` failed, after it had put something out (`spoken`) or before."""
        if isinstance(error, UpstreamError):
            self._trail.failed(error)
        self._remember(error)
        if spoken:
            return self._broke_off(error)
        if not isinstance(error, UpstreamError) or error.kind == "rejected":
            return self._rejected(call, error)
        self._tried.add(call.lease.name)
        if error.kind in ("rate_limited", "key_refused", "quota"):
            lease = self._pool.take(self._stop.model, self._tried, untried_only=True)
            if lease is not None:
                return self._call(lease, self._mark("retrying"))
            return self._limited("retrying") if error.kind == "rate_limited" and error.retryable else self._move_on()
        return self._failing(call, error)

    @property
    def _stop(self) -> Choice:
        return self._stops[self._place]

    @property
    def _pool(self) -> KeyPool:
        return self._router.pools[self._stop.target.name]

    @property
    def _last(self) -> bool:
        return self._place == len(self._stops) - 1

    def _call(self, lease: Lease, mark: Rerouted | None) -> Call:
        stop = self._stop
        self._trail.asked(stop.target.name, stop.model)
        return Call(stop, self._router.route(stop.target, stop.model, lease.secret), lease, mark)

    def _mark(self, state: Literal["retrying", "switched"]) -> Rerouted:
        return Rerouted(state, self._stop.target.name, self._stop.model)

    def _bearable(self, seconds: float) -> bool:
        """Whether the provider's wish to wait can be granted."""
        policy = self._policy
        longest = policy.max_wait_s if self._last else min(policy.short_wait_s, policy.max_wait_s)
        return seconds <= longest and self._in_time(seconds)

    def _in_time(self, seconds: float) -> bool:
        return self._clock() + seconds < self._deadline

    def _rejected(self, call: Call, error: GatewayError) -> Step:
        """The request itself: once more without a refused parameter, else its end, unless only this provider is the reason."""
        parameter = error.refused_parameter if isinstance(error, UpstreamError) else None
        if parameter is not None and parameter not in call.route.dropped and self._refusals < MAX_REFUSALS:
            self._refusals += 1
            self._router.remember_refusal(call.route, parameter)
            lease = self._pool.take(self._stop.model, last_resort=self._last)
            return self._move_on() if lease is None else self._call(lease, None)
        unknown_here = isinstance(error, UpstreamError) and error.code == "provider_error"
        return self._move_on() if unknown_here or self._place > 0 else GiveUp(error)

    def _failing(self, call: Call, error: UpstreamError) -> Step:
        if not worth_repeating(error) or self._retries >= self._policy.max_retries:
            return self._move_on()
        if fell_silent(error):
            # Whoever waited this long is asked to wait once more at most, and only where nobody else can be asked.
            self._silences += 1
            if not self._last or self._silences > 1 or call.lease.forced:
                return self._move_on()
        asked = error.retry_after or 0.0
        wait = max(self._policy.backoff.delay(self._retries + 1), asked)
        if not self._bearable(asked) or not self._in_time(wait):
            return self._move_on()
        return self._pause(wait, "retrying")

    def _limited(self, state: Literal["retrying"] | None) -> Step:
        """Every key rests: wait for the first that comes back, if that is soon."""
        wait = self._pool.wait(self._stop.model)
        if self._retries >= self._policy.max_retries or not self._bearable(wait or 0.0):
            return self._move_on()
        # Spread, as others wait for the same moment.
        return self._pause((wait or 0.0) + self._policy.backoff.delay(1), state)

    def _pause(self, seconds: float, state: Literal["retrying"] | None) -> Pause:
        self._retries += 1
        return Pause(seconds, None if state is None else self._mark(state))

    def _move_on(self) -> Step:
        return self._enter(self._place + 1)

    def _enter(self, place: int) -> Step:
        """Ask the provider at `place`, or the next behind it that can be asked."""
        before = self._place
        for self._place in range(place, len(self._stops)):  # noqa: B020 - the properties look at where it stands
            stop, mark = self._stop, self._mark("switched") if self._place else None
            lease = self._pool.take(stop.model, last_resort=self._last)
            if lease is not None:
                self._begin_anew()
                return self._call(lease, mark)
            wait = self._pool.wait(stop.model)
            if wait is not None and self._bearable(wait):
                self._begin_anew()
                return Pause(wait + self._policy.backoff.delay(1), mark)
        self._place = before
        return GiveUp(self._with_wait(self._error or self._blocked()))

    def _begin_anew(self) -> None:
        """Each provider has retries of its own."""
        self._retries = self._silences = 0
        self._tried.clear()

    def _broke_off(self, error: GatewayError) -> Step:
        """Output has come: the turn fails, or somebody goes on from there."""
        done = self._trail.fold.reply()
        rejected = not isinstance(error, UpstreamError) or error.kind == "rejected"
        if not self._policy.continue_on_break or rejected or done.tool_calls or self.over:
            return GiveUp(self._with_wait(error))
        if self._continuations >= MAX_CONTINUATIONS:
            return GiveUp(self._with_wait(error))
        self._continuations += 1
        self._trail.broke_off()
        self.broken_off = done.content
        step = self._move_on()
        if not isinstance(step, GiveUp):
            return step
        lease = self._pool.take(self._stop.model, last_resort=True)
        return step if lease is None else self._call(lease, self._mark("retrying"))

    def _remember(self, error: GatewayError) -> None:
        """What the turn will have failed of; that another provider cannot take the request as it is says nothing about it."""
        rejected = not isinstance(error, UpstreamError) or error.kind == "rejected"
        if self._error is None or not rejected or self._place == 0:
            self._error = error

    def _blocked(self) -> GatewayError:
        first = self._stops[0]
        return self._router.pools[first.target.name].blocked(first.model)

    def _with_wait(self, error: GatewayError) -> GatewayError:
        """Whoever is told that the provider is overloaded is also told when to come back."""
        if error.code == "provider_overloaded" and error.retry_after is None:
            rest = self._pool.wait(self._stop.model)
            error.retry_after = rest or (_RETRY_AFTER_S if error.retryable else _RETRY_AFTER_QUOTA_S)
        return error
