"""A provider that fails while another one can be asked: what clients, operators and the log see of it."""

import json

from gateway.web import schemas_service as schemas
from simulator import Script
from tests.observe.scraping import scrape
from tests.running import Start, Told
from tests.web.shapes import check, check_stream

QUESTION = {"message": "ما معنى كلمة «كتاب»؟"}
TRIED = {"provider": "openai", "model": "gpt-6-luna", "code": "provider_error"}


async def test_a_stream_tells_of_retries_and_of_another_provider(start_gateway: Start) -> None:
    gateway = await start_gateway(FALLBACK_PROVIDERS="groq", MAX_RETRIES="1")
    gateway.simulator.script(Script(status=500, provider="openai"), calls=None)
    told = Told(await gateway.events(QUESTION))
    check_stream(told)
    assert told.data("start")[0]["provider"] == "openai"
    assert [(mark["state"], mark["provider"]) for mark in told.data("status")] == [("retrying", "openai"), ("switched", "groq")]
    assert (told.last["provider"], told.last["attempts"]) == ("groq", [TRIED, TRIED])
    [row] = await gateway.rows("SELECT provider, attempts FROM messages WHERE role = 'assistant'")
    logged = [attempt | {"upstream_status": 500} for attempt in (TRIED, TRIED)]
    assert (row["provider"], json.loads(row["attempts"])) == ("groq", logged)


async def test_a_named_provider_is_asked_alone(start_gateway: Start) -> None:
    gateway = await start_gateway(FALLBACK_PROVIDERS="groq", MAX_RETRIES="0")
    gateway.simulator.script(Script(status=500, provider="openai"), calls=None)
    answer = await gateway.client.post("/chat", json={**QUESTION, "provider": "openai"})
    assert answer.status_code == 502
    assert [call.provider for call in gateway.simulator.calls] == ["openai"]
    assert (await gateway.ask(QUESTION))["provider"] == "groq"


async def test_operators_see_a_provider_that_is_down_and_come_back(start_gateway: Start) -> None:
    gateway = await start_gateway(FALLBACK_PROVIDERS="groq", MAX_RETRIES="0", OPENAI_API_KEY="invalid-key-1")
    assert (await gateway.ask(QUESTION))["provider"] == "groq"
    health = (await gateway.client.get("/health")).json()
    check(schemas.HealthReport, health)
    assert (health["status"], health["providers"]["openai"], health["providers"]["groq"]) == ("degraded", "down", "up")
    numbers = (await gateway.client.get("/stats")).json()
    check(schemas.Statistics, numbers)
    assert {key["name"]: key["state"] for key in numbers["keys"]} == {
        "openai#1": "refused",
        "anthropic#1": "up",
        "groq#1": "up",
        "google#1": "up",
    }
    metrics = await scrape(gateway.client)
    keys = {name: metrics.value("gateway_keys", provider=name, state="up") for name in ("openai", "groq")}
    assert keys == {"openai": 0, "groq": 1}
    assert "invalid-key" not in (await gateway.client.get("/metrics")).text + json.dumps(numbers) + json.dumps(health)


async def test_a_reply_that_breaks_off_is_gone_on_with(start_gateway: Start) -> None:
    gateway = await start_gateway(FALLBACK_PROVIDERS="groq", CONTINUE_ON_BREAK="true")
    for provider, fault in (("openai", " fault=reset@mid"), ("groq", "")):
        body = {**QUESTION, "message": f"{QUESTION['message']} [[sim: tokens=9 provider={provider}{fault}]]"}
        told = Told(await gateway.events(body))
        check_stream(told)
        assert told.text() == told.last["content"]
        assert told.text().startswith("[محاكاة] سلام سلام" if provider == "openai" else "[محاكاة]")
    assert told.names.count("status") == 0
    calls = [call.provider for call in gateway.simulator.calls]
    assert calls == ["openai", "groq", "openai"]
    shown = json.dumps(gateway.simulator.calls[1].body, ensure_ascii=False)
    assert "[محاكاة] سلام سلام" in shown
    assert "cut off" in shown
