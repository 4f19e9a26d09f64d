"""What an OpenTelemetry collector gets, and that nothing of it is there when nobody asked for it."""

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway import __version__
from gateway.observe.otel import TelemetryError, open_telemetry
from gateway.settings import for_libraries
from simulator import Script
from tests.documents import ROOT
from tests.observe.collector import Collector, collecting, plain
from tests.running import Start, Told

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
QUESTION = "ما معنى «سلسبيل»؟"


@pytest.fixture(autouse=True)
def no_exporter_goes_on() -> Iterator[None]:
    """One that tries again takes random numbers, which Hypothesis does not forgive while it runs another test."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("telemetry", "Otel")):
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the environment names."""
    async with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
        yield found


async def test_a_turn_with_a_retry(start_gateway: Start, collector: Collector) -> None:
    gateway = await start_gateway()
    gateway.simulator.script(Script(status=500))
    told = Told(
        await gateway.events(
            {"message": QUESTION, "conversation_id": "conv-1", "provider": "google"}, traceparent=f"00-{TRACE}-{PARENT}-01"
        )
    )
    await gateway.client.get("/health")
    await gateway.close()

    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    [request], [turn] = collector.named("POST"), collector.named("turn")
    assert (request.name, request.kind, request.parent_span_id.hex()) == ("POST /chat/stream", Span.SPAN_KIND_SERVER, PARENT)
    assert plain(request.attributes)["http.response.status_code"] == 200
    assert turn.parent_span_id == request.span_id
    about = plain(turn.attributes)
    assert about["gateway.turn.id"] == told.last["turn_id"]
    assert (about["gen_ai.conversation.id"], about["gateway.turn.status"], about["gateway.turn.logged"]) == (
        "conv-1",
        "completed",
        "stored",
    )

    failed, answered = collector.named("chat")
    assert failed.name == answered.name == "chat gemini-3.8-flash"
    for call in (failed, answered):
        about = plain(call.attributes)
        assert call.kind == Span.SPAN_KIND_CLIENT
        assert call.parent_span_id == turn.span_id
        assert turn.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano <= turn.end_time_unix_nano
        assert (about["gen_ai.operation.name"], about["gen_ai.provider.name"]) == ("chat", "gcp.gemini")
        assert (about["gen_ai.request.model"], about["server.address"]) == ("gemini-3.8-flash", "127.0.0.1")
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert (plain(failed.attributes)["error.type"], plain(failed.attributes)["http.response.status_code"]) == (
        "provider_error",
        500,
    )
    usage, about = told.last["usage"], plain(answered.attributes)
    assert answered.status.code == Status.STATUS_CODE_UNSET
    assert about["gen_ai.usage.input_tokens"] == usage["input_tokens"]
    assert about["gen_ai.usage.output_tokens"] == usage["output_tokens"]
    assert about["gen_ai.response.finish_reasons"] == ["stop"]
    assert 0 < about["gen_ai.response.time_to_first_chunk"] * 1e9 <= answered.end_time_unix_nano - answered.start_time_unix_nano

    assert collector.total("gen_ai.client.token.usage", gen_ai__token__type="output") == usage["output_tokens"]
    points = collector.metrics["gen_ai.client.operation.duration"]
    assert sorted(plain(point.attributes).get("error.type", "") for point in points) == ["", "provider_error"]
    assert collector.metrics["gen_ai.client.operation.time_to_first_chunk"]
    assert [plain(point.attributes)["http.route"] for point in collector.metrics["http.server.request.duration"]] == [
        "/chat/stream"
    ]


async def test_what_was_said_and_keys_stay_here(start_gateway: Start, collector: Collector) -> None:
    gateway = await start_gateway(OPENAI_API_KEY="sk-a-secret-of-ours")
    reply = await gateway.ask({"message": QUESTION, "system_prompt": "أنت عالم"})
    gateway.simulator.script(Script(status=400))
    await gateway.client.post("/chat", json={"message": "سؤال آخر"})
    await gateway.close()
    sent = b"".join(collector.bodies)
    for text in (QUESTION, "سلسبيل", "أنت عالم", reply["content"][:20], "سؤال آخر", "sk-a-secret-of-ours"):
        assert text.encode() not in sent
    assert reply["turn_id"].encode() in sent
    [_, failed] = collector.named("turn")
    assert (failed.status.code, plain(failed.attributes)["error.type"]) == (Status.STATUS_CODE_ERROR, "provider_rejected")
    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.version"]) == ("m3ajem-gateway", __version__)
    assert resource["deployment.environment.name"] == "tests"


async def test_one_signal_alone(start_gateway: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    gateway = await start_gateway()
    await gateway.ask({"message": QUESTION})
    await gateway.close()
    assert collector.metrics
    assert not collector.spans


async def test_a_collector_that_is_away_is_no_matter(start_gateway: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    gateway = await start_gateway()
    assert (await gateway.ask({"message": QUESTION}))["status"] == "completed"


def test_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_telemetry("1") is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(TelemetryError, match="OTEL_EXPORTER_OTLP_PROTOCOL: takes http/protobuf"):
        open_telemetry("1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_telemetry("1") is None


def test_a_missing_package_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delitem(sys.modules, "gateway.observe.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(TelemetryError, match=r"needs the packages of requirements-otel\.txt"):
        open_telemetry("1")


def test_nothing_of_it_is_imported_when_nobody_asked() -> None:
    """By us: the Redis client looks at some of it by itself where it is installed."""
    program = (
        "import sys; from gateway.app import build; from gateway.settings import load; build(load({}, None), 'postgres://x/y');"
        "print([name for name in sys.modules "
        "if name.startswith(('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'gateway.observe.telemetry'))])"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_variables_may_stand_in_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("OTEL_EXPORTER_OTLP_ENDPOINT=http://in-the-file\nOTEL_SERVICE_NAME=from-the-file\nOPENAI_API_KEY=sk-1\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://in-the-environment")
    assert for_libraries(file) == {"OTEL_SERVICE_NAME": "from-the-file"}
    assert for_libraries(tmp_path / "none") == {}
