"""Key pools: who is taken, who rests, and what operators see of it."""

from collections import Counter

import pytest

from gateway.core.errors import UpstreamError, UpstreamKind
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.keys import KeyPool
from gateway.engine.lease import Lease
from gateway.engine.rests import RestPolicy
from tests.engine.clocks import Clock

BREAKER = BreakerPolicy(minimum=2, open_s=5)
REST = RestPolicy(limited_s=1, max_s=60, aside_s=120, aside_max_s=300)
MODEL = "gpt-6-luna"


def error(kind: UpstreamKind, *, retry_after: float | None = None, status: int | None = None) -> UpstreamError:
    return UpstreamError("provider_error", "…", kind=kind, retry_after=retry_after, upstream_status=status)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pool(clock: Clock, keys: int = 3) -> KeyPool:
    return KeyPool("openai", [f"secret-{number}" for number in range(keys)], BREAKER, REST, clock)


def taken(pool: KeyPool, model: str = MODEL) -> Lease:
    lease = pool.take(model)
    assert lease is not None
    return lease


def failed(pool: KeyPool, why: UpstreamError, model: str = MODEL) -> str:
    lease = taken(pool, model)
    lease.failed(why)
    return lease.name


def states(pool: KeyPool) -> dict[str, str]:
    return {key.name: key.state for key in pool.health()}


def test_calls_are_spread_by_least_in_flight(clock: Clock) -> None:
    keys = pool(clock)
    leases = [taken(keys) for _ in range(9)]
    assert set(Counter(lease.name for lease in leases).values()) == {3}
    for lease in leases:
        if lease.name == "openai#2":
            lease.succeeded()
    assert [taken(keys).name for _ in range(3)] == ["openai#2"] * 3


def test_idle_keys_take_turns(clock: Clock) -> None:
    keys = pool(clock)
    names = []
    for _ in range(6):
        lease = taken(keys)
        names.append(lease.name)
        lease.succeeded()
    assert Counter(names) == {"openai#1": 2, "openai#2": 2, "openai#3": 2}


def test_a_lease_counts_once_however_it_ends(clock: Clock) -> None:
    keys = pool(clock, 1)
    lease = taken(keys)
    assert keys.health()[0].in_flight == 1
    lease.succeeded()
    lease.failed(error("key_refused"))
    lease.release()
    assert keys.health()[0].in_flight == 0
    assert states(keys) == {"openai#1": "up"}


def test_a_limited_key_rests_until_its_reset(clock: Clock) -> None:
    keys = pool(clock, 2)
    limited = failed(keys, error("rate_limited", retry_after=30))
    assert states(keys)[limited] == "limited"
    assert keys.wait(MODEL) == 30
    assert limited not in {taken(keys).name for _ in range(5)}
    clock.pass_(30)
    assert states(keys)[limited] == "up"
    assert taken(keys).name == limited


def test_a_limit_is_of_one_model(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("rate_limited", retry_after=30))
    assert keys.take(MODEL) is None
    assert keys.take("gpt-6-sol") is not None


def test_a_limit_without_a_reset_rests_longer_each_time(clock: Clock) -> None:
    keys = pool(clock, 1)
    for rest in (1, 2, 4):
        failed(keys, error("rate_limited"))
        assert keys.wait(MODEL) == rest
        clock.pass_(rest)
    taken(keys).succeeded()
    failed(keys, error("rate_limited"))
    assert keys.wait(MODEL) == 1


def test_calls_that_were_under_way_together_are_one_limit(clock: Clock) -> None:
    keys = pool(clock, 1)
    leases = [taken(keys) for _ in range(10)]
    for lease in leases:
        lease.failed(error("rate_limited"))
    assert keys.wait(MODEL) == 1


def test_no_rest_is_longer_than_the_bound(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("rate_limited", retry_after=86_400))
    assert keys.wait(MODEL) == 60


def test_a_spent_key_is_asked_last(clock: Clock) -> None:
    keys = pool(clock, 2)
    lease = taken(keys)
    lease.spent(8.0)
    lease.succeeded()
    assert lease.name not in {taken(keys).name for _ in range(5)}
    clock.pass_(8)
    assert taken(keys).name == lease.name


def test_a_spent_key_that_is_alone_is_still_asked(clock: Clock) -> None:
    keys = pool(clock, 1)
    lease = taken(keys)
    lease.spent(8.0)
    lease.succeeded()
    assert taken(keys).name == "openai#1"
    assert states(keys) == {"openai#1": "up"}


@pytest.mark.parametrize(("kind", "state"), [("key_refused", "refused"), ("quota", "quota")])
def test_a_refused_key_is_set_aside_and_probed_by_one_call(clock: Clock, kind: UpstreamKind, state: str) -> None:
    keys = pool(clock, 1)
    for rest in (120, 240, 300):
        failed(keys, error(kind, status=401))
        assert states(keys) == {"openai#1": state}
        assert keys.take("another-model") is None, "the key itself was refused"
        clock.pass_(rest - 1)
        assert keys.take(MODEL) is None
        clock.pass_(1)
    probe = taken(keys)
    assert keys.take(MODEL) is None
    assert states(keys) == {"openai#1": state}
    probe.succeeded()
    assert states(keys) == {"openai#1": "up"}
    assert taken(keys).name == "openai#1"


def test_a_stopped_probe_leaves_its_place(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("key_refused", status=401))
    clock.pass_(120)
    taken(keys).release()
    assert keys.take(MODEL) is not None


def test_a_403_is_about_one_model(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("key_refused", status=403))
    assert keys.take(MODEL) is None
    assert keys.take("gpt-6-sol") is not None


def test_the_first_word_of_a_probe_is_enough(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("server"))
    failed(keys, error("server"))
    assert states(keys) == {"openai#1": "open"}
    clock.pass_(5)
    probe = taken(keys)
    assert probe.probing
    assert states(keys) == {"openai#1": "half_open"}
    probe.spoke()
    assert states(keys) == {"openai#1": "up"}
    assert not probe.probing


@pytest.mark.parametrize("kind", ["overloaded", "server", "broken", "timeout", "connect"])
def test_the_providers_failures_open_the_breaker(clock: Clock, kind: UpstreamKind) -> None:
    keys = pool(clock, 1)
    for _ in range(2):
        failed(keys, error(kind))
    assert keys.take(MODEL) is None
    clock.pass_(5)
    failed(keys, error(kind))
    clock.pass_(9)
    assert keys.take(MODEL) is None, "the failed probe doubled the wait"
    clock.pass_(1)
    assert keys.take(MODEL) is not None


def test_what_the_request_is_to_blame_for_does_not(clock: Clock) -> None:
    keys = pool(clock, 1)
    for _ in range(10):
        failed(keys, error("rejected", status=400))
    assert states(keys) == {"openai#1": "up"}


def test_a_rejection_shows_that_the_provider_works(clock: Clock) -> None:
    keys = pool(clock, 1)
    for _ in range(2):
        failed(keys, error("server"))
    clock.pass_(5)
    failed(keys, error("rejected", status=400))
    assert states(keys) == {"openai#1": "up"}


def test_untried_keys_go_first_and_can_be_asked_for_alone(clock: Clock) -> None:
    keys = pool(clock, 2)
    first = taken(keys)
    first.release()
    for _ in range(3):
        lease = keys.take(MODEL, {first.name})
        assert lease is not None
        assert lease.name != first.name
        lease.release()
    assert keys.take(MODEL, {"openai#1", "openai#2"}, untried_only=True) is None
    assert keys.take(MODEL, {"openai#1", "openai#2"}) is not None


def test_as_a_last_resort_a_failing_key_is_taken(clock: Clock) -> None:
    keys = pool(clock, 1)
    for _ in range(2):
        failed(keys, error("server"))
    assert keys.take(MODEL) is None
    several = [keys.take(MODEL, last_resort=True) for _ in range(3)]
    assert all(lease is not None and lease.forced for lease in several)
    first, second, _ = (lease for lease in several if lease is not None)
    first.failed(error("server"))
    assert states(keys) == {"openai#1": "open"}
    second.succeeded()
    assert states(keys) == {"openai#1": "up"}


@pytest.mark.parametrize(
    ("why", "state"),
    [
        (error("rate_limited", retry_after=30), "limited"),
        (error("key_refused", status=401), "refused"),
        (error("quota", status=429), "quota"),
    ],
)
def test_as_a_last_resort_a_resting_key_is_taken_by_one(clock: Clock, why: UpstreamError, state: str) -> None:
    keys = pool(clock, 1)
    failed(keys, why)
    probe = keys.take(MODEL, last_resort=True)
    assert probe is not None
    assert keys.take(MODEL, last_resort=True) is None
    assert states(keys) == {"openai#1": state}
    probe.failed(why)
    again = keys.take(MODEL, last_resort=True)
    assert again is not None
    again.succeeded()
    assert states(keys) == {"openai#1": "up"}


def test_a_limit_that_is_over_waits_for_no_probe(clock: Clock) -> None:
    keys = pool(clock, 1)
    failed(keys, error("rate_limited", retry_after=3))
    assert keys.take(MODEL, last_resort=True) is not None
    clock.pass_(3)
    assert [taken(keys).probing for _ in range(2)] == [False, False]
    assert keys.wait(MODEL) is None


def test_why_nobody_can_be_asked(clock: Clock) -> None:
    keys = pool(clock, 2)
    failed(keys, error("key_refused", status=401))
    failed(keys, error("quota", status=429))
    assert (keys.blocked(MODEL).code, keys.blocked(MODEL).kind, keys.blocked(MODEL).retryable) == (
        "provider_overloaded",
        "quota",
        False,
    )
    keys = pool(clock, 2)
    failed(keys, error("rate_limited", retry_after=12))
    failed(keys, error("rate_limited", retry_after=7))
    assert (keys.blocked(MODEL).code, keys.blocked(MODEL).retry_after) == ("provider_overloaded", 7)


def test_no_key_is_ever_shown(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    keys = pool(clock, 2)
    with caplog.at_level("DEBUG"):
        name = failed(keys, error("key_refused", status=401))
        failed(keys, error("key_refused", status=401))
    told = [record for record in caplog.records if getattr(record, "key", None) == name]
    assert [record.getMessage() for record in told] == ["the provider refused a key"]
    assert "secret-" not in repr(keys.health()) + caplog.text
