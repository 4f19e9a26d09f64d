"""Prometheus metrics: what every turn adds, and the state of this process, sampled once a second.

With several workers each keeps its numbers in files under `PROMETHEUS_MULTIPROC_DIR` (set by the parent process), and any of
them answers for all.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.core.turn import TurnRecord
from gateway.store.base import Receipt

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SAMPLE_S: Final = 1.0
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LAGS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

Sample = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Usual:
    """What nearly every turn of a provider adds to: finding a labelled child costs more than adding to it."""

    completed: Counter
    first: Histogram
    total: Histogram
    input: Counter
    output: Counter
    cost: Counter


class Metrics:
    """Watches the engine's turns. Label values are providers, statuses and error codes: closed sets all."""

    def __init__(self, sample: Sample) -> None:
        """`sample` gives the state of this process by name, such as `active_turns`."""
        self._registry = CollectorRegistry()
        self._sample = sample
        self._turns = self._counter("turns", "Turns that ended", "provider", "status")
        self._errors = self._counter("errors", "Turns that failed, by what the client was told", "provider", "code")
        self._tokens = self._counter("tokens", "Tokens that providers counted", "provider", "kind")
        self._cost = self._counter("cost_usd", "What turns cost, where the price is known", "provider")
        self._attempts = self._counter("failed_attempts", "Upstream calls that did not answer their turn", "provider", "code")
        self._fallbacks = self._counter("fallbacks", "Turns that another provider answered", "provider")
        self._resumes = self._counter("resumes", "Streams that were gone on with")
        self._spooled = self._counter("spooled", "Turns that went to the journal first")
        self._first = self._histogram("time_to_first_token_seconds", "From the request to the first output", _SECONDS, "provider")
        self._total = self._histogram("turn_seconds", "From the request to the logged end", _SECONDS, "provider")
        self._lag = self._histogram("event_loop_lag_seconds", "How late the event loop came to a timer", _LAGS)
        self._usual: dict[str, _Usual] = {}
        self._gauges: dict[str, Gauge] = {}
        self._task: asyncio.Task[None] | None = None

    def begun(self, turn: object) -> None:
        """See `Watcher`."""

    def grown(self, turn: object) -> None:
        """See `Watcher`."""

    def ended(self, turn: object, record: TurnRecord, receipt: Receipt) -> None:
        """See `Watcher`."""
        begun, ended = record.begun, record.ended
        usual = self._usual.get(ended.provider) or self._usual_of(ended.provider)
        if ended.status == "completed":
            usual.completed.inc()
        else:
            self._turns.labels(ended.provider, ended.status).inc()
        usual.total.observe((ended.ended_ms - begun.started_ms) / 1000)
        if ended.first_output_ms is not None:
            usual.first.observe((ended.first_output_ms - begun.started_ms) / 1000)
        usage = ended.reply.usage
        usual.input.inc(usage.input_tokens or 0)
        usual.output.inc(usage.output_tokens or 0)
        if usage.cached_tokens:
            self._tokens.labels(ended.provider, "cached").inc(usage.cached_tokens)
        if ended.cost_usd:
            usual.cost.inc(ended.cost_usd)
        if receipt.message_id is None:
            self._spooled.inc()
        if ended.error is not None or ended.attempts:
            self._rare(record)

    def _usual_of(self, provider: str) -> "_Usual":
        self._usual[provider] = _Usual(
            self._turns.labels(provider, "completed"),
            self._first.labels(provider),
            self._total.labels(provider),
            self._tokens.labels(provider, "input"),
            self._tokens.labels(provider, "output"),
            self._cost.labels(provider),
        )
        return self._usual[provider]

    def _rare(self, record: TurnRecord) -> None:
        ended = record.ended
        if ended.error is not None:
            self._errors.labels(ended.provider, ended.error.code).inc()
        for attempt in ended.attempts:
            self._attempts.labels(attempt.provider, attempt.code).inc()
        if ended.status == "completed" and ended.provider != record.begun.provider:
            self._fallbacks.labels(ended.provider).inc()

    def resumed(self) -> None:
        """A client went on with a stream."""
        self._resumes.inc()

    def start(self) -> None:
        """Begin to sample."""
        self._task = asyncio.get_running_loop().create_task(self._sample_forever())

    async def close(self) -> None:
        """Stop sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def render(self) -> bytes:
        """All metrics as Prometheus text, those of all workers together."""
        self._take_sample()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    async def _sample_forever(self) -> None:
        while True:
            asked = time.monotonic()
            await asyncio.sleep(SAMPLE_S)
            self._lag.observe(max(0.0, time.monotonic() - asked - SAMPLE_S))
            self._take_sample()

    def _take_sample(self) -> None:
        for name, value in self._sample().items():
            gauge = self._gauges.get(name)
            if gauge is None:
                gauge = self._gauges[name] = Gauge(
                    f"gateway_{name}",
                    f"{name.replace('_', ' ').capitalize()} now",
                    registry=self._registry,
                    multiprocess_mode="livesum",
                )
            gauge.set(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self._registry)
