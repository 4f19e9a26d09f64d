"""The state of this process as Prometheus gauges."""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

KEY_STATES: Final = ("up", "limited", "refused", "quota", "open", "half_open")

_Mode = Literal["livesum", "livemin", "livemax"]


@dataclass(frozen=True, slots=True)
class KeySample:
    """One key of a provider: its state, one of `KEY_STATES`, and the seconds that it still rests."""

    provider: str
    state: str
    rest_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process knows of itself. `breakers_opened` counts by provider, since the start; `spent_usd` is what all
    processes spent this UTC day as far as known, and `budget_usd` what they may, 0 for any amount."""

    active_turns: int
    readers: int
    spooled_turns: int
    refused_turns: int
    database_up: bool
    journal_up: bool
    event_loop_tasks: int
    keys: Sequence[KeySample]
    breakers_opened: Mapping[str, int]
    spent_usd: float = 0.0
    budget_usd: float = 0.0


class Gauges:
    """Takes samples. Numbers of several workers are added up, but for those that hold for all of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, mode: _Mode, *labels: str) -> Gauge:
            return Gauge(f"gateway_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        self._active = gauge("active_turns", "Turns that run now", "livesum")
        self._readers = gauge("readers", "Readers of running turns now", "livesum")
        self._spooled = gauge("spooled_turns", "Turns in the journal that wait for the database", "livesum")
        self._refused = gauge("refused_turns", "Turns kept aside because the database would not have them", "livesum")
        self._database = gauge("database_up", "Whether the database took what it was last given (1), in every worker", "livemin")
        self._journal = gauge("journal_up", "Whether the journal could be written (1), in every worker", "livemin")
        self._tasks = gauge("event_loop_tasks", "Tasks on the event loop", "livesum")
        self._keys = gauge("keys", "Keys of providers, as each worker sees them", "livesum", "provider", "state")
        self._rest = gauge("key_rest_seconds", "How long the key that rests longest still rests", "livemax", "provider")
        self._spent = gauge("spent_usd_today", "What was spent this UTC day, with a budget", "livemax")
        self._budget = gauge("daily_budget_usd", "What may be spent in a UTC day, 0 for any amount", "livemax")
        self._opened = Counter(
            "gateway_breaker_opened", "How often a key's circuit breaker opened", ("provider",), registry=registry
        )
        self._opened_before: dict[str, int] = {}

    def take(self, sample: Sample) -> None:
        """Show this state from now on."""
        self._active.set(sample.active_turns)
        self._readers.set(sample.readers)
        self._spooled.set(sample.spooled_turns)
        self._refused.set(sample.refused_turns)
        self._database.set(sample.database_up)
        self._journal.set(sample.journal_up)
        self._tasks.set(sample.event_loop_tasks)
        self._spent.set(sample.spent_usd)
        self._budget.set(sample.budget_usd)
        self._take_keys(sample.keys)
        for provider, opened in sample.breakers_opened.items():
            self._opened.labels(provider).inc(opened - self._opened_before.get(provider, 0))
            self._opened_before[provider] = opened

    def _take_keys(self, keys: Sequence[KeySample]) -> None:
        found = Tally((key.provider, key.state) for key in keys)
        for provider in {key.provider for key in keys}:
            for state in KEY_STATES:
                self._keys.labels(provider, state).set(found[provider, state])
            self._rest.labels(provider).set(max(key.rest_s for key in keys if key.provider == provider))
