"""Prometheus metrics: what every turn adds, and the state of this process, sampled once a second.

With several workers each keeps its numbers in files under `PROMETHEUS_MULTIPROC_DIR` (set by the parent process), and any of
them answers for all.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.core.turn import TurnRecord
from gateway.observe.gauges import Gauges, Sample
from gateway.store.base import Receipt

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SAMPLE_S: Final = 1.0
_TOGETHER: Final = 32
TOKEN_KINDS: Final = ("input", "output", "cached", "cache_write", "reasoning")
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


class _Usual:
    """What nearly every turn of a model adds to. Finding a labelled child costs more than adding to it, and that more than adding
    to a number: what turns that are counted together come to is added at once."""

    __slots__ = ("_amounts", "_counters", "first", "total")

    def __init__(self, first: Histogram, total: Histogram, *counters: Counter) -> None:
        self.first = first
        self.total = total
        self._counters = counters
        self._amounts = [0.0] * len(counters)

    def add(self, *amounts: float | None) -> None:
        """Remember a turn's amounts, one for each counter."""
        self._amounts = [sum_ + (amount or 0.0) for sum_, amount in zip(self._amounts, amounts, strict=True)]

    def count(self) -> None:
        """Let the counters have what is remembered."""
        for counter, amount in zip(self._counters, self._amounts, strict=True):
            if amount:
                counter.inc(amount)
        self._amounts = [0.0] * len(self._counters)


class Metrics:
    """Watches the engine's turns. Label values are closed sets: providers, the models that the settings name, statuses, codes."""

    def __init__(self, sample: Callable[[], Sample], worker: str = "0") -> None:
        """`sample` gives the state of this process; `worker` is its name, which no other living worker has."""
        if _SHARED in os.environ:
            # A worker that takes a dead one's place goes on with its files, so that there are never more of them.
            values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        # Other workers tell what this one has counted, also when it was killed.
        self._together = 1 if _SHARED in os.environ else _TOGETHER
        self._registry = CollectorRegistry()
        self._sample = sample
        self._turns = self._counter("turns", "Turns that ended", "provider", "status")
        self._errors = self._counter("errors", "Turns that failed, by what the client was told", "provider", "code")
        self._tokens = self._counter("tokens", "Tokens that providers counted", "provider", "model", "kind")
        self._cost = self._counter("cost_usd", "What turns cost, where the price is known", "provider", "model")
        self._unpriced = self._counter("unpriced_turns", "Turns without a known cost that gave something", "provider", "model")
        self._attempts = self._counter("failed_attempts", "Upstream calls that did not answer their turn", "provider", "code")
        self._retries = self._counter("retries", "Upstream calls of a turn beyond its first", "provider")
        self._fallbacks = self._counter("fallbacks", "Turns that another provider answered", "provider")
        self._resumes = self._counter("resumes", "Streams that were gone on with")
        self._answers = self._counter("answers", "Questions that may be answered from the cache, by what answered", "result")
        self._spooled = self._counter("spooled", "Turns that went to the journal first")
        self._first = self._histogram("time_to_first_token_seconds", "From the request to the first output", _SECONDS, "provider")
        self._total = self._histogram("turn_seconds", "From the request to the reply's end", _SECONDS, "provider")
        self._store = self._histogram("store_seconds", "From the reply's end until it was logged", _SHORT)
        self._lag = self._histogram("event_loop_lag_seconds", "How late the event loop came to a timer", _SHORT)
        self._gauges = Gauges(self._registry)
        self._usual: dict[tuple[str, str], _Usual] = {}
        self._ended: list[tuple[TurnRecord, Receipt, float]] = []
        self._task: asyncio.Task[None] | None = None

    def ended(self, turn: object, record: TurnRecord, receipt: Receipt) -> None:
        """A turn ended. They are counted some at a time, one right after the other, which costs less than each as it ends."""
        self._ended.append((record, receipt, time.time()))
        if len(self._ended) >= self._together:
            self._count()

    def _count(self) -> None:
        while self._ended:
            record, receipt, logged_at = self._ended.pop()
            try:
                self._add(record, receipt, logged_at)
            except Exception:
                log.exception("a turn could not be counted", extra={"turn_id": record.begun.turn_id})
        for usual in self._usual.values():
            usual.count()

    def _add(self, record: TurnRecord, receipt: Receipt, logged_at: float) -> None:
        begun, ended = record.begun, record.ended
        usual = self._usual.get((ended.provider, ended.model)) or self._usual_of(ended.provider, ended.model)
        usual.total.observe((ended.ended_ms - begun.started_ms) / 1000)
        if ended.first_output_ms is not None:
            usual.first.observe((ended.first_output_ms - begun.started_ms) / 1000)
        self._store.observe(max(0.0, logged_at - ended.ended_ms / 1000))
        completed = ended.status == "completed"
        usage = ended.reply.usage
        usual.add(
            completed,
            ended.cost_usd,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        )
        if not completed or ended.attempts or ended.cost_usd is None or receipt.message_id is None:
            self._rare(record, receipt)

    def _usual_of(self, provider: str, model: str) -> _Usual:
        usual = self._usual[provider, model] = _Usual(
            self._first.labels(provider),
            self._total.labels(provider),
            self._turns.labels(provider, "completed"),
            self._cost.labels(provider, model),
            *(self._tokens.labels(provider, model, kind) for kind in TOKEN_KINDS),
        )
        return usual

    def _rare(self, record: TurnRecord, receipt: Receipt) -> None:
        ended = record.ended
        if ended.status != "completed":
            self._turns.labels(ended.provider, ended.status).inc()
        if ended.cost_usd is None and ended.first_output_ms is not None:
            self._unpriced.labels(ended.provider, ended.model).inc()
        if receipt.message_id is None:
            self._spooled.inc()
        if ended.error is not None:
            self._errors.labels(ended.provider, ended.error.code).inc()
        for attempt in ended.attempts:
            self._attempts.labels(attempt.provider, attempt.code).inc()
        # The last call of a turn that failed is among the attempts, that of any other is not.
        if further := len(ended.attempts) - (ended.status == "failed"):
            self._retries.labels(ended.provider).inc(max(0, further))
        if ended.status == "completed" and ended.provider != record.begun.provider:
            self._fallbacks.labels(ended.provider).inc()

    def resumed(self) -> None:
        """A client went on with a stream."""
        self._resumes.inc()

    def answered(self, result: Literal["hit", "shared", "miss"]) -> None:
        """A question was answered from the log, by another turn's reply as it was written, or by the provider."""
        self._answers.labels(result).inc()

    def start(self) -> None:
        """Begin to sample."""
        self._task = asyncio.get_running_loop().create_task(self._sample_forever())

    async def close(self) -> None:
        """Stop sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._count()

    def render(self) -> bytes:
        """All metrics as Prometheus text, those of all workers together."""
        self._count()
        self._gauges.take(self._sample())
        if _SHARED not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    async def _sample_forever(self) -> None:
        while True:
            asked = time.monotonic()
            await asyncio.sleep(SAMPLE_S)
            self._lag.observe(max(0.0, time.monotonic() - asked - SAMPLE_S))
            self._count()
            self._gauges.take(self._sample())

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self._registry)
