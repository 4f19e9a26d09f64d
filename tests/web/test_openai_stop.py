"""`stop`: what each provider is told, and where it cannot be had."""

from typing import Any

import pytest

from tests.running import Gateway, Start
from tests.web.test_openai_format import MODELS, PATH, asked, sent

TEXTS = ["\n\n", "المعنى:"]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_goes_to_every_provider(start_gateway: Start, stream: bool) -> None:
    gateway = await start_gateway(OPENAI_MODELS="gpt-4o")
    models = MODELS | {"openai": "openai/gpt-4o"}
    bodies = {name: await sent(gateway, asked(model, stop=TEXTS, stream=stream)) for name, model in models.items()}
    assert bodies["openai"]["stop"] == bodies["groq"]["stop"] == bodies["anthropic"]["stop_sequences"] == TEXTS
    assert bodies["google"]["generationConfig"]["stopSequences"] == TEXTS


async def test_one_text_and_none(gateway: Gateway) -> None:
    assert (await sent(gateway, asked(MODELS["groq"], stop="؟")))["stop"] == ["؟"]
    nothing: Any
    for nothing in (None, "", []):
        assert "stop" not in await sent(gateway, asked(MODELS["groq"], stop=nothing))


async def test_a_model_that_takes_none_is_not_asked_without_it(start_gateway: Start) -> None:
    gateway = await start_gateway()
    refused = await gateway.client.post(PATH, json=asked(MODELS["openai"], stop=TEXTS))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "provider_rejected")
    assert [call.body["stop"] for call in gateway.simulator.calls] == [TEXTS]
    await gateway.close()
    gateway.simulator.calls.clear()
    gateway = await start_gateway(OPENAI_API="responses")
    refused = await gateway.client.post(PATH, json=asked(MODELS["openai"], stop=TEXTS))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "provider_rejected")
    assert gateway.simulator.calls == []


@pytest.mark.parametrize(
    ("given", "param"), [(7, "stop"), ([""], "stop.0"), (["أ", 7], "stop.1"), (list("ابتثج"), "stop"), ("أ" * 201, "stop.0")]
)
async def test_what_is_no_stop(gateway: Gateway, given: Any, param: str) -> None:
    answer = await gateway.client.post(PATH, json=asked(MODELS["google"], stop=given))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert gateway.simulator.calls == []


async def test_it_is_not_answered_from_the_log(start_gateway: Start) -> None:
    gateway = await start_gateway(CACHE_TTL_S="60")
    await sent(gateway, asked(MODELS["groq"]))
    await sent(gateway, asked(MODELS["groq"], stop=TEXTS))
    assert len(gateway.simulator.calls) == 2
