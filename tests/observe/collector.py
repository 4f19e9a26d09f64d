"""An OpenTelemetry collector as small as can be: takes OTLP over HTTP and keeps what it got."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collector:
    """`bodies` are the requests as they came, uncompressed."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, list[Any]] = field(default_factory=dict)

    async def take_traces(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(plain(one.resource.attributes))
            self.spans += [span for scope in one.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    async def take_metrics(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        for one in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in one.scope_metrics:
                for metric in scope.metrics:
                    self.metrics[metric.name] = list(metric.histogram.data_points)
        return web.Response(content_type="application/x-protobuf")

    def named(self, prefix: str) -> list[Span]:
        """Spans whose names begin so, oldest first."""
        return sorted((span for span in self.spans if span.name.startswith(prefix)), key=lambda span: span.start_time_unix_nano)

    def total(self, metric: str, **attributes: str) -> float:
        """What a histogram's points with these attributes (two underscores for a dot) add up to."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return float(sum(point.sum for point in self.metrics[metric] if wanted.items() <= plain(point.attributes).items()))


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes of a span, a point or a resource by name."""
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take_traces)
    app.router.add_post("/v1/metrics", collector.take_metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    await runner.cleanup()
