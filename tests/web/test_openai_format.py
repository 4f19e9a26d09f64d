"""`response_format`: what each provider is told, and where it cannot be had."""

from typing import Any

import pytest

from simulator import parse_text
from tests.running import Gateway, Start

PATH = "/v1/chat/completions"
SCHEMA = {
    "type": "object",
    "properties": {"الكلمة": {"type": "string"}, "root": {"type": "string"}},
    "required": ["الكلمة", "root"],
    "additionalProperties": False,
}
NAMED = {"name": "entry", "description": "مدخل من المعجم", "schema": SCHEMA, "strict": True}
BY_SCHEMA = {"type": "json_schema", "json_schema": NAMED}
ANY_OBJECT = {"type": "json_object"}
MODELS = {
    "openai": "openai/gpt-6-luna",
    "anthropic": "anthropic/claude-haiku-5-5",
    "groq": "groq/openai/gpt-oss-120b",
    "google": "google/gemini-3.8-flash",
}


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "ما جذر «مُعْجَم»؟ أجب بصيغة JSON"}]} | more


async def sent(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    """What the provider was asked."""
    answer = await gateway.client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = gateway.simulator.calls[-1].body
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_goes_to_every_provider(gateway: Gateway, stream: bool) -> None:
    bodies = {name: await sent(gateway, asked(model, response_format=BY_SCHEMA, stream=stream)) for name, model in MODELS.items()}
    assert bodies["openai"]["response_format"] == bodies["groq"]["response_format"] == BY_SCHEMA
    assert bodies["anthropic"]["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    config = bodies["google"]["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", SCHEMA)


async def test_any_object(gateway: Gateway) -> None:
    bodies = {name: await sent(gateway, asked(MODELS[name], response_format=ANY_OBJECT)) for name in ("openai", "groq", "google")}
    assert bodies["openai"]["response_format"] == bodies["groq"]["response_format"] == ANY_OBJECT
    config = bodies["google"]["generationConfig"]
    assert (config["responseMimeType"], "responseJsonSchema" in config) == ("application/json", False)
    refused = await gateway.client.post(PATH, json=asked(MODELS["anthropic"], response_format=ANY_OBJECT))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "provider_rejected")
    assert len(gateway.simulator.calls) == 3


async def test_responses(start_gateway: Start) -> None:
    gateway = await start_gateway(OPENAI_API="responses")
    body = await sent(gateway, asked(MODELS["openai"], response_format=BY_SCHEMA))
    assert body["text"] == {"format": {"type": "json_schema", **NAMED}}
    body = await sent(gateway, asked(MODELS["openai"], response_format=ANY_OBJECT))
    assert body["text"] == {"format": ANY_OBJECT}


async def test_text_is_nothing_in_particular(gateway: Gateway) -> None:
    for given in (None, {"type": "text"}):
        assert "response_format" not in await sent(gateway, asked(MODELS["openai"], response_format=given))
    assert "response_format" not in await sent(gateway, asked(MODELS["openai"]))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "grammar"}, "response_format"),
        ({"type": "json_schema"}, "response_format.json_schema.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "entry"}}, "response_format.json_schema.json_schema.schema"),
        ({"type": "json_schema", "json_schema": NAMED | {"name": "مدخل"}}, "response_format.json_schema.json_schema.name"),
        ("json", "response_format"),
    ],
)
async def test_what_is_no_format(gateway: Gateway, given: Any, param: str) -> None:
    answer = await gateway.client.post(PATH, json=asked(MODELS["openai"], response_format=given))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert gateway.simulator.calls == []


async def test_it_is_neither_answered_from_the_log_nor_gone_on_with(start_gateway: Start) -> None:
    gateway = await start_gateway(CACHE_TTL_S="60", CONTINUE_ON_BREAK="true", FALLBACK_PROVIDERS="anthropic", MAX_RETRIES="0")
    question = asked("gpt-6-luna")
    await sent(gateway, question)
    await sent(gateway, question | {"response_format": BY_SCHEMA})
    assert len(gateway.simulator.calls) == 2
    gateway.simulator.script(parse_text("fault=reset@mid"))
    broken = await gateway.client.post(PATH, json=question | {"response_format": BY_SCHEMA, "stream": True})
    assert '"error"' in broken.text
    assert "[DONE]" not in broken.text
    assert len(gateway.simulator.calls) == 3
    # Whoever stands in for a provider is asked for the same.
    gateway.simulator.script(parse_text("provider=openai status=500"))
    assert "output_config" in await sent(gateway, question | {"response_format": BY_SCHEMA})
