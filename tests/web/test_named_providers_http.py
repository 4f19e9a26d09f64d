"""Providers that the operator named: one like the others, whatever their servers do differently."""

from typing import Any

import pytest

from gateway.web import schemas_service as schemas
from simulator import Script, Simulator, parse_text
from tests.running import Gateway, Start, Told
from tests.web.shapes import check, check_problem, check_stream

QUESTION = {"message": "ما معنى كلمة «كتاب»؟", "provider": "my-ollama"}
TOOL = {"name": "get_entry", "description": "مدخل", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}


def named(simulator: Simulator, **more: str) -> dict[str, str]:
    """A provider without a key, called by an address with a slash at its end."""
    return {
        "PROVIDERS": "my-ollama",
        "MY_OLLAMA_BASE_URL": f"{simulator.base_url}/compatible/v1/",
        "MY_OLLAMA_MODEL": "qwen3:8b",
        "MY_OLLAMA_MODELS": "gpt-oss:20b",
        **more,
    }


@pytest.fixture
async def gateway(start_gateway: Start, simulator: Simulator) -> Gateway:
    return await start_gateway(**named(simulator))


async def test_it_answers_without_a_key(gateway: Gateway) -> None:
    whole = await gateway.ask(QUESTION)
    told = Told(await gateway.events({**QUESTION, "model": "gpt-oss:20b", "max_tokens": 100, "temperature": 0.5}))
    check_stream(told)
    assert (whole["provider"], whole["model"], whole["status"]) == ("my-ollama", "qwen3:8b", "completed")
    assert (told.last["provider"], told.last["model"]) == ("my-ollama", "gpt-oss:20b")
    assert whole["usage"]["input_tokens"] > 0
    assert whole["usage"]["cost_usd"] is None
    calls = gateway.simulator.calls
    assert [call.provider for call in calls] == ["compatible"] * 2
    assert all("authorization" not in call.headers for call in calls)
    assert (calls[0].body["max_tokens"], calls[1].body["max_tokens"], calls[1].body["temperature"]) == (8192, 100, 0.5)


async def test_its_keys_are_sent_and_never_shown(start_gateway: Start, simulator: Simulator) -> None:
    gateway = await start_gateway(**named(simulator, MY_OLLAMA_API_KEY="invalid-secret"))
    check_problem(await gateway.client.post("/chat", json=QUESTION), "provider_error")
    assert gateway.simulator.calls[0].headers["authorization"] == "Bearer invalid-secret"
    health = (await gateway.client.get("/health")).json()
    assert health["providers"]["my-ollama"] == "down"
    assert "invalid-secret" not in (await gateway.client.get("/stats")).text


async def test_operators_see_it(gateway: Gateway) -> None:
    await gateway.ask(QUESTION)
    service = (await gateway.client.get("/")).json()
    check(schemas.ServiceInfo, service)
    assert service["providers"]["my-ollama"] == {"configured": True, "model": "qwen3:8b"}
    health = (await gateway.client.get("/health")).json()
    check(schemas.HealthReport, health)
    assert health["providers"]["my-ollama"] == "up"
    numbers = (await gateway.client.get("/stats")).json()
    check(schemas.Statistics, numbers)
    assert numbers["turns"]["by_provider"]["my-ollama"]["total"] == 1
    assert "my-ollama#1" in {key["name"] for key in numbers["keys"]}
    assert 'provider="my-ollama"' in (await gateway.client.get("/metrics")).text
    listed = (await gateway.client.get("/conversations", params={"provider": "my-ollama"})).json()
    assert len(listed["conversations"]) == 1
    for path in ("/dashboard", "/playground"):
        page = await gateway.client.get(path, follow_redirects=True)
        assert (page.status_code, "my-ollama" in page.text) == (200, True)


async def test_other_names_are_unknown(gateway: Gateway) -> None:
    check_problem(await gateway.client.post("/chat", json={**QUESTION, "provider": "ollama"}), "unknown_provider")
    check_problem(await gateway.client.post("/chat", json={**QUESTION, "model": "llama"}), "unknown_model")


async def test_it_is_the_default_and_falls_back(start_gateway: Start, simulator: Simulator) -> None:
    gateway = await start_gateway(
        **named(simulator, DEFAULT_PROVIDER="my-ollama", FALLBACK_PROVIDERS="groq,my-ollama", MAX_RETRIES="0")
    )
    asked = {"message": QUESTION["message"]}
    assert (await gateway.ask(asked))["provider"] == "my-ollama"
    gateway.simulator.script(Script(status=500, provider="compatible"), calls=1)
    assert (await gateway.ask(asked))["provider"] == "groq"


async def test_tools_and_a_history_of_another_provider(gateway: Gateway) -> None:
    asked = {"message": "ما معنى كلمتي «كتاب» و«قلم»؟ parallel", "conversation_id": "conv-1", "tools": [TOOL]}
    first = await gateway.ask(asked | {"provider": "anthropic"})
    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"نتيجة {call['id']}"} for call in first["tool_calls"]]
    last = await gateway.ask({"messages": results, "conversation_id": "conv-1", "tools": [TOOL], "provider": "my-ollama"})
    assert all(result["content"] in last["content"] for result in results)


async def test_a_parameter_that_it_does_not_know_is_left_out_from_then_on(gateway: Gateway) -> None:
    text = "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]"
    gateway.simulator.script(Script(status=422, message=text), calls=1)
    for calls in (2, 3):
        assert Told(await gateway.events(QUESTION)).last["status"] == "completed"
        assert len(gateway.simulator.calls) == calls
    assert ["stream_options" in call.body for call in gateway.simulator.calls] == [True, False, False]


async def test_it_may_speak_the_other_format(start_gateway: Start, simulator: Simulator) -> None:
    settings = named(simulator, MY_OLLAMA_API="responses", MY_OLLAMA_API_KEY="k", MY_OLLAMA_BASE_URL=f"{simulator.base_url}/v1")
    gateway = await start_gateway(**settings | {"MY_OLLAMA_MODEL": "gpt-4o"})
    assert Told(await gateway.events(QUESTION)).last["status"] == "completed"
    assert gateway.simulator.calls[0].path == "/v1/responses"
    assert gateway.simulator.calls[0].body.keys() <= {"model", "input", "store", "max_output_tokens", "stream"}


async def test_openai_may_be_asked_in_the_other_format_altogether(start_gateway: Start) -> None:
    gateway = await start_gateway(OPENAI_API="responses")
    answer = await gateway.ask({"message": "فكّر: ما معنى سلام؟", "tools": [TOOL]})
    assert gateway.simulator.calls[0].path == "/v1/responses"
    assert (answer["thoughts"] != [], len(answer["tool_calls"])) == (True, 1)


QUIRKS: dict[str, dict[str, Any]] = {
    "compat-no-done": {"content": "كِتابٌ وكُتُب", "finish_reason": "stop"},
    "compat-no-finish-no-usage": {"content": "كِتابٌ وكُتُب", "finish_reason": "stop"},
    "compat-openrouter": {"content": "ما يُكتَب", "finish_reason": "stop"},
    "compat-calls-without-index": {"content": "", "finish_reason": "tool_calls"},
    "compat-calls-same-index": {"content": "", "finish_reason": "tool_calls"},
    "compat-reasoning-content": {"content": "نعم", "finish_reason": "stop"},
}


@pytest.mark.parametrize("quirk", QUIRKS)
async def test_what_servers_do_differently(gateway: Gateway, quirk: str) -> None:
    gateway.simulator.script(parse_text(f"fixture=handmade-{quirk} chunks=random:1"))
    told = Told(await gateway.events({**QUESTION, "tools": [TOOL]}))
    check_stream(told)
    done = told.last
    assert {name: done[name] for name in QUIRKS[quirk]} == QUIRKS[quirk]
    assert len({call["id"] for call in done["tool_calls"]}) == len(done["tool_calls"]) == (2 if "calls" in quirk else 0)
    assert done["usage"]["output_tokens"] == (None if "calls" in quirk or "no-usage" in quirk else 7)


@pytest.mark.parametrize(("quirk", "stream"), [("openrouter-error-first", True), ("json-error-200", False)])
async def test_an_error_inside_a_200_is_one(start_gateway: Start, simulator: Simulator, quirk: str, stream: bool) -> None:
    gateway = await start_gateway(**named(simulator, MAX_RETRIES="0"))
    gateway.simulator.script(parse_text(f"fixture=handmade-compat-{quirk}"))
    path = "/chat/stream" if stream else "/chat"
    check_problem(await gateway.client.post(path, json=QUESTION), "provider_overloaded")


async def test_an_error_in_the_middle_keeps_what_had_come(gateway: Gateway) -> None:
    gateway.simulator.script(parse_text("fixture=handmade-compat-openrouter-error-midstream"))
    told = Told(await gateway.events(QUESTION))
    assert (told.text(), told.names[-1], told.last["code"]) == ("نصف", "failed", "provider_error")
