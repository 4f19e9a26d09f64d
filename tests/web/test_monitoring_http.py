"""What monitoring reads: exactly the shapes that are described, and never a secret."""

import pytest

from gateway.web import schemas_service as schemas
from simulator import Script
from tests.running import PROVIDERS, Start
from tests.web.shapes import check, check_problem

SECRETS = {"OPENAI_API_KEY": "sk-secret-one", "GOOGLE_API_KEY": "g-secret-two,g-secret-three", "ADMIN_TOKEN": "the-secret-token"}
HEADERS = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}


async def test_what_this_server_is(start_gateway: Start) -> None:
    gateway = await start_gateway(**SECRETS, DEFAULT_PROVIDER="groq", ANTHROPIC_API_KEY="")
    answer = await gateway.client.get("/")
    check(schemas.ServiceInfo, answer.json())
    assert answer.json()["default_provider"] == "groq"
    assert {name: one["configured"] for name, one in answer.json()["providers"].items()} == {
        "openai": True,
        "anthropic": False,
        "groq": True,
        "google": True,
    }
    for path in ("/", "/health", "/openapi.json", "/docs", "/metrics", "/stats"):
        assert "secret" not in (await gateway.client.get(path, headers=HEADERS)).text


async def test_health(start_gateway: Start) -> None:
    gateway = await start_gateway()
    report = (await gateway.client.get("/health")).json()
    check(schemas.HealthReport, report)
    assert report["status"] == "healthy"
    assert report["database"] == "up"
    assert report["providers"] == dict.fromkeys(PROVIDERS, "up")
    assert (await gateway.client.get("/health/live")).json() == {"status": "alive"}
    assert (await gateway.client.get("/health/ready")).json() == {"status": "ready"}


async def test_numbers(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    empty = (await gateway.client.get("/stats")).json()
    check(schemas.Statistics, empty)
    assert (empty["window"], empty["turns"]["total"], empty["cost_usd"]) == ("24h", 0, 0)

    replies = [await gateway.ask({"message": "سلام", "provider": provider}) for provider in ("openai", "openai", "google")]
    gateway.simulator.script(Script(status=500))
    await gateway.client.post("/chat", json={"message": "سلام", "provider": "groq"})
    found = (await gateway.client.get("/stats?window=15m")).json()
    check(schemas.Statistics, found)
    assert found["turns"]["total"] == 4
    assert found["turns"]["by_status"] == {"completed": 3, "failed": 1}
    assert {name: one["total"] for name, one in found["turns"]["by_provider"].items()} == {"openai": 2, "google": 1, "groq": 1}
    assert found["errors"] == {"provider_error": 1}
    for kind in ("input", "output"):
        assert found["tokens"][kind] == sum(reply["usage"][f"{kind}_tokens"] for reply in replies)
    assert found["cost_usd"] > 0
    for name in ("by_model", "by_day"):
        assert sum(one["cost_usd"] for one in found["turns"][name]) == pytest.approx(found["cost_usd"])
        assert sum(one["total"] for one in found["turns"][name]) == 4
    [caller] = found["turns"]["by_caller"]
    assert (caller["caller"], caller["turns"], caller["failures"]) == (None, 4, 1)
    month = (await gateway.client.get("/stats?window=30d")).json()
    check(schemas.Statistics, month)
    assert (month["turns"]["total"], month["turns"]["by_caller"]) == (4, None)
    assert month["turns"]["by_model"] == found["turns"]["by_model"]
    assert found["total_ms"]["p50"] is not None
    for window in ("", "24", "h", "-1h", "0h", "1y", "999999h", "1h "):
        check_problem(await gateway.client.get("/stats", params={"window": window}), "invalid_request")


async def test_active_streams(start_gateway: Start) -> None:
    gateway = await start_gateway()
    async with gateway.streaming({"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]"}):
        await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
        found = (await gateway.client.get("/stats")).json()
        assert (found["active_turns"], found["active_streams"]) == (1, 1)
        gateway.simulator.release()


async def test_metrics(start_gateway: Start) -> None:
    gateway = await start_gateway()
    await gateway.ask({"message": "سلام"})
    answer = await gateway.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert samples
    assert any('provider="openai"' in line for line in samples)


async def test_a_gateway_that_shuts_down_tells_its_clients(start_gateway: Start) -> None:
    gateway = await start_gateway()
    body = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]", "conversation_id": "conv-1"}
    async with gateway.streaming(body) as source:
        events = source.aiter_sse()
        assert (await anext(events)).event == "start"
        await gateway.simulator.until(lambda simulator: simulator.calls[-1].stalled)
        await gateway.drain()
        last = [event async for event in events][-1]
    check_problem(await gateway.client.get("/health/ready"), "shutting_down")
    for path in ("/chat", "/chat/stream"):
        answer = await gateway.client.post(path, json={"message": "سلام"})
        check_problem(answer, "shutting_down")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await gateway.client.get("/health/live")).status_code == 200
    assert last.event == "failed"
    assert last.json()["code"] == "interrupted"
    assert last.json()["retryable"] is True
    [reply] = await gateway.rows("SELECT status FROM messages WHERE role = 'assistant'")
    assert reply["status"] == "interrupted"
