"""The circuit breaker's states."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.engine.breaker import Breaker, BreakerPolicy
from tests.engine.clocks import Clock

POLICY = BreakerPolicy(window_s=30, minimum=4, rate=0.5, open_s=5, open_max_s=15)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(POLICY, clock)


def state(breaker: Breaker) -> str:
    return breaker.state


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


def test_few_failures_say_nothing(breaker: Breaker) -> None:
    fail(breaker, 3)
    assert state(breaker) == "closed"
    assert breaker.admit()


def test_it_opens_at_the_rate(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.succeeded()
    fail(breaker, 4)
    assert state(breaker) == "closed"
    breaker.failed()
    assert state(breaker) == "open"
    assert not breaker.ready()
    assert not breaker.admit()
    assert breaker.opened == 1


def test_what_left_the_window_counts_no_more(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.pass_(31)
    fail(breaker, 3)
    assert state(breaker) == "closed"
    clock.pass_(10)
    breaker.failed()
    assert state(breaker) == "open"


def test_one_probe_at_a_time_decides(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    clock.pass_(5)
    assert state(breaker) == "half_open"
    assert breaker.ready()
    assert breaker.admit()
    assert not breaker.ready()
    assert not breaker.admit()
    assert state(breaker) == "half_open"
    breaker.probe_succeeded()
    assert state(breaker) == "closed"
    fail(breaker, 3)
    assert state(breaker) == "closed", "the count began anew"


def test_failed_probes_double_the_wait_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    for wait in (5, 10, 15, 15):
        clock.pass_(wait - 0.1)
        assert not breaker.admit()
        clock.pass_(0.1)
        assert breaker.admit()
        breaker.probe_failed()
        assert state(breaker) == "open"


def test_a_dropped_probe_leaves_the_place_to_the_next_call(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    clock.pass_(5)
    assert breaker.admit()
    breaker.probe_dropped()
    assert breaker.admit()


def test_late_ends_of_earlier_calls_say_nothing(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    breaker.failed()
    breaker.succeeded()
    assert state(breaker) == "open"
    clock.pass_(5)
    assert state(breaker) == "half_open"


class Calls(RuleBasedStateMachine):
    """However calls begin and end: never more than one probe, and a breaker that a probe closes."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(POLICY, self.clock)
        self.plain = 0
        self.probing = False

    @rule()
    def call(self) -> None:
        closed = self.breaker.closed
        if self.breaker.admit():
            assert closed or not self.probing
            self.plain, self.probing = (self.plain + 1, self.probing) if closed else (self.plain, True)

    @precondition(lambda self: self.plain)
    @rule(good=st.booleans())
    def end(self, good: bool) -> None:
        self.plain -= 1
        if good:
            self.breaker.succeeded()
        else:
            self.breaker.failed()

    @precondition(lambda self: self.probing)
    @rule(end=st.sampled_from(["probe_succeeded", "probe_failed", "probe_dropped"]))
    def end_probe(self, end: str) -> None:
        self.probing = False
        getattr(self.breaker, end)()
        assert self.breaker.closed == (end == "probe_succeeded")

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @invariant()
    def ready_is_what_admit_does(self) -> None:
        if self.probing:
            assert not self.breaker.ready()
        assert self.breaker.closed == (self.breaker.state == "closed")


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
