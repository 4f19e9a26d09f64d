"""Traces and metrics for an OpenTelemetry collector, after the semantic conventions for HTTP and generative AI.

A request is a server span, whose parent the client may name (`traceparent`); a turn is a span in it, which may outlive it; each
upstream call of the turn is a client span in that one. A turn's spans are made when it has ended, from its record: nothing is
done for a token. What was said is never exported. Providers are not told trace ids.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from gateway.core.events import Event
from gateway.core.turn import TurnRecord
from gateway.observe.spans import Attributes, answer_attributes, ask_attributes, failure_attributes, turn_attributes
from gateway.store.base import Receipt

_CLOSE_S: Final = 3.0
_UNWATCHED: Final = ("/health", "/health/live", "/health/ready", "/metrics")
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4.0**power for power in range(14))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Call:
    """One upstream call; times are Unix nanoseconds."""

    url: str
    streamed: bool
    began: int = field(default_factory=time.time_ns)
    first: int | None = None
    ended: int = 0


@dataclass(slots=True)
class _Turn:
    """What a running turn's spans will need: the context that it was asked in, and its calls."""

    parent: Any
    calls: list[_Call] = field(default_factory=list)


_TURN: ContextVar[_Turn] = ContextVar("turn")


class Telemetry:
    """Watches requests, turns and upstream calls."""

    def __init__(self, version: str, *, traces: bool, metrics: bool) -> None:
        given = {"service.name": "m3ajem-gateway", "service.version": version, "service.instance.id": str(uuid.uuid4())}
        resource = Resource.create({**given, **OTELResourceDetector().detect().attributes})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        if traces:
            self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if metrics else []
        self._metrics = MeterProvider(readers, resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("gateway", version)
        meter = self._metrics.get_meter("gateway", version)

        def histogram(name: str, unit: str, text: str, buckets: tuple[float, ...]) -> Any:
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets)

        self._requests = histogram("http.server.request.duration", "s", "Requests", _SECONDS)
        self._calls = histogram("gen_ai.client.operation.duration", "s", "Upstream calls", _SECONDS)
        self._first = histogram("gen_ai.client.operation.time_to_first_chunk", "s", "Streamed upstream calls", _SECONDS)
        self._tokens = histogram("gen_ai.client.token.usage", "{token}", "Tokens of turns", _TOKENS)

    def middleware(self) -> Any:
        """The outermost one: it sees what the client gets."""

        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await handler(request) if request.path in _UNWATCHED else await self._serve(request, handler)

        return serve

    def watched(self, caller: Any) -> "WatchedCalls":
        """Something that makes upstream calls, so that their times are known."""
        return WatchedCalls(caller)

    async def close(self) -> None:
        """Send what is left, if anybody takes it within a few seconds."""
        closing = threading.Thread(target=self._shut_down, name="telemetry", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_S)

    def begun(self, turn: object) -> None:
        """A turn begins. Called in its own task, which inherits the request's span."""
        _TURN.set(_Turn(trace.set_span_in_context(trace.get_current_span())))

    def ended(self, turn: object, record: TurnRecord, receipt: Receipt) -> None:
        """It ended. Called in its own task, too."""
        found = _TURN.get()
        span = self._tracer.start_span(
            "turn",
            found.parent,
            attributes=turn_attributes(record, stored=receipt.message_id is not None),
            start_time=record.begun.started_ms * 1_000_000,
        )
        if record.ended.error is not None:
            span.set_status(Status(StatusCode.ERROR, record.ended.error.code))
        inside = trace.set_span_in_context(span)
        for number, call in enumerate(found.calls):
            self._add_call(call, record, number, inside)
        span.end(time.time_ns())

    def _add_call(self, call: _Call, record: TurnRecord, number: int, inside: Any) -> None:
        """The calls that did not answer the turn are its attempts, in order; one more may have answered it."""
        attempts = record.ended.attempts
        attempt = attempts[number] if number < len(attempts) else None
        address = urlsplit(call.url)
        asked = ask_attributes(record, attempt, address.hostname or "", address.port)
        seconds = (call.ended - call.began) / 1e9
        first = None if call.first is None or not call.streamed else (call.first - call.began) / 1e9
        span = self._tracer.start_span(
            f"chat {asked['gen_ai.request.model']}",
            inside,
            SpanKind.CLIENT,
            {**asked, "gen_ai.request.stream": call.streamed},
            start_time=call.began,
        )
        if first is not None:
            span.set_attribute("gen_ai.response.time_to_first_chunk", first)
            self._first.record(first, asked)
        if attempt is not None:
            span.set_attributes(failure_attributes(attempt))
            span.set_status(Status(StatusCode.ERROR, attempt.code))
            self._calls.record(seconds, {**asked, "error.type": attempt.code})
        else:
            span.set_attributes(answer_attributes(record))
            self._calls.record(seconds, asked)
            self._add_tokens(record, asked)
        span.end(call.ended)

    def _add_tokens(self, record: TurnRecord, asked: Attributes) -> None:
        usage = record.ended.reply.usage
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None:
                self._tokens.record(count, {**asked, "gen_ai.token.type": kind})

    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        about: Attributes = {"http.request.method": request.method, "url.scheme": request.scheme}
        if resource is not None:
            about["http.route"] = resource.canonical
        began = time.perf_counter()
        with self._tracer.start_as_current_span(
            f"{request.method} {about.get('http.route', '')}".rstrip(),
            propagate.extract(request.headers),
            SpanKind.SERVER,
            {**about, "url.path": request.path},
            record_exception=False,
        ) as span:
            response = await handler(request)
            about["http.response.status_code"] = response.status
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        self._requests.record(time.perf_counter() - began, about)
        return response

    def _shut_down(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown(_CLOSE_S / 2 * 1000)


class WatchedCalls:
    """Makes upstream calls through another, and notes when they began and ended."""

    def __init__(self, caller: Any) -> None:
        self._caller = caller

    async def whole(self, provider: Any, request: Any, heard: Any) -> list[Event]:
        """See `engine.attempts.Caller`."""
        call = self._note(request, streamed=False)
        try:
            events: list[Event] = await self._caller.whole(provider, request, heard)
            return events
        finally:
            call.ended = time.time_ns()

    async def stream(self, provider: Any, request: Any, take: Any, heard: Any) -> None:
        """See `engine.attempts.Caller`."""
        call = self._note(request, streamed=True)

        def taken(batch: list[Event]) -> bool:
            if call.first is None:
                call.first = time.time_ns()
            enough: bool = take(batch)
            return enough

        try:
            await self._caller.stream(provider, request, taken, heard)
        finally:
            call.ended = time.time_ns()

    def _note(self, request: Any, *, streamed: bool) -> _Call:
        call = _Call(request.url, streamed)
        _TURN.get().calls.append(call)
        return call
