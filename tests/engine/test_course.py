"""How long a turn waits before its next call, without waiting."""

import pytest

from gateway.core.errors import UpstreamError, UpstreamKind
from gateway.core.events import Rerouted
from gateway.engine.backoff import Backoff
from gateway.engine.course import Call, Course, GiveUp, Pause, Step
from gateway.engine.policy import Policy
from tests.engine.clocks import Clock
from tests.engine.pretending import Pretended, Turns, answers, trail

POLICY = Policy(max_retries=2, turn_timeout_s=600, max_wait_s=20, short_wait_s=2, backoff=Backoff(0.5, 8.0))
BUSY: list[tuple[UpstreamKind, int]] = [("rate_limited", 429), ("overloaded", 529), ("overloaded", 503)]


def begun(policy: Policy = POLICY, *, fallback: bool = False, clock: Clock | None = None) -> Course:
    turns = Turns(Pretended(openai=answers(), groq=answers()), fallback=["groq"] if fallback else [])
    choice = turns.router.choose(None, None)
    return Course(turns.router, policy, choice, trail(choice), clock or Clock())


def called(step: Step) -> Call:
    assert isinstance(step, Call)
    return step


def failed(course: Course, step: Step, error: UpstreamError) -> Step:
    call = called(step)
    call.lease.failed(error)
    return course.failed(call, error, spoken=False)


def busy(kind: UpstreamKind, status: int, retry_after: float | None) -> UpstreamError:
    return UpstreamError("provider_overloaded", "…", kind=kind, upstream_status=status, retry_after=retry_after)


@pytest.mark.parametrize("retry_after", [0.25, 7.0, 20.0])
@pytest.mark.parametrize(("kind", "status"), BUSY)
def test_retry_after_is_honoured(kind: UpstreamKind, status: int, retry_after: float) -> None:
    course = begun()
    step = failed(course, course.first(), busy(kind, status, retry_after))
    assert isinstance(step, Pause)
    assert retry_after - 0.01 <= step.seconds <= retry_after + POLICY.backoff.base_s
    assert step.mark == Rerouted("retrying", "openai", "model")
    assert called(course.resume()).mark is None


@pytest.mark.parametrize(("kind", "status"), BUSY)
def test_a_longer_one_is_told_to_the_client(kind: UpstreamKind, status: int) -> None:
    course = begun()
    step = failed(course, course.first(), busy(kind, status, 21.0))
    assert isinstance(step, GiveUp)
    assert (step.error.code, step.error.retry_after) == ("provider_overloaded", 21.0)


@pytest.mark.parametrize(("retry_after", "waits"), [(1.5, True), (3.0, False)])
@pytest.mark.parametrize(("kind", "status"), BUSY)
def test_with_somebody_else_to_ask_only_a_short_one_is(kind: UpstreamKind, status: int, retry_after: float, waits: bool) -> None:
    course = begun(fallback=True)
    step = failed(course, course.first(), busy(kind, status, retry_after))
    if waits:
        assert isinstance(step, Pause)
    else:
        assert called(step).mark == Rerouted("switched", "groq", "model")


def test_the_wait_grows_with_full_jitter() -> None:
    waits: list[list[float]] = [[], [], [], []]
    for _ in range(200):
        course = begun(Policy(max_retries=4, backoff=Backoff(0.5, 2.0)))
        step = course.first()
        for found in waits:
            pause = failed(course, step, UpstreamError("provider_error", "…", kind="server", upstream_status=500))
            assert isinstance(pause, Pause)
            found.append(pause.seconds)
            step = course.resume()
    for found, bound in zip(waits, (0.5, 1.0, 2.0, 2.0), strict=True):
        assert 0 <= min(found) < bound * 0.2
        assert bound * 0.8 < max(found) <= bound


@pytest.mark.parametrize("kind", ["server", "overloaded", "rate_limited"])
def test_no_wait_reaches_beyond_the_turns_time(kind: UpstreamKind) -> None:
    clock = Clock()
    course = begun(Policy(turn_timeout_s=10, backoff=Backoff(0, 0)), clock=clock)
    first = course.first()
    clock.pass_(6)
    assert isinstance(failed(course, first, busy(kind, 503, 5.0)), GiveUp)


def test_an_overloaded_provider_always_comes_with_a_time_to_come_back() -> None:
    for kind in ("overloaded", "rate_limited"):
        course = begun(Policy(max_retries=0))
        step = failed(course, course.first(), busy(kind, 529, None))
        assert isinstance(step, GiveUp)
        assert step.error.retry_after == 5.0
    course = begun()
    step = failed(course, course.first(), UpstreamError("provider_overloaded", "…", kind="quota", retryable=False))
    assert isinstance(step, GiveUp)
    assert step.error.retry_after == 60.0


def test_others_that_took_the_key_meanwhile_are_waited_for() -> None:
    turns = Turns(Pretended(openai=answers()))
    choice = turns.router.choose(None, None)
    course = Course(turns.router, POLICY, choice, trail(choice), Clock())
    pause = failed(course, course.first(), busy("rate_limited", 429, 5.0))
    assert isinstance(pause, Pause)
    probe = turns.router.pools["openai"].take("model", last_resort=True)
    assert probe is not None
    again = course.resume()
    assert isinstance(again, Pause)
    assert again.mark is None
    probe.succeeded()
    assert isinstance(course.resume(), Call)
