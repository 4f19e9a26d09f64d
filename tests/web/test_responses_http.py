"""Models that are asked through OpenAI's Responses API: clients see no difference."""

import json
from typing import Any

import pytest

from simulator import Call, parse_text
from tests.running import Gateway, Start, Told
from tests.web.shapes import check_stream

MODEL = "gpt-6.1-sol"
BODY = {"message": "فكّر: ما معنى كلمتي «كتاب» و«قلم»؟ اثنين", "provider": "openai", "model": MODEL}
TOOL = {
    "name": "get_entry",
    "description": "مدخل من المعجم",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}


@pytest.fixture
async def gateway(start_gateway: Start) -> Gateway:
    return await start_gateway(OPENAI_MODELS=f"{MODEL},gpt-6-astra", FALLBACK_PROVIDERS="openai")


def paths(gateway: Gateway) -> list[str]:
    return [call.path for call in gateway.simulator.calls]


def kinds(call: Call) -> list[str]:
    return [item.get("type", item.get("role")) for item in call.body["input"]]


def results(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": call["id"], "content": f"نتيجة {call['id']}"} for call in answer["tool_calls"]]


async def test_whole_and_streamed_alike(gateway: Gateway) -> None:
    whole = await gateway.ask(BODY)
    told = Told(await gateway.events(BODY))
    check_stream(told)
    assert paths(gateway) == ["/v1/responses"] * 2
    assert told.text() == told.last["content"] == whole["content"]
    assert told.text("thought") == "".join(thought["content"] for thought in whole["thoughts"]) != ""
    assert told.last["usage"]["reasoning_tokens"] == whole["usage"]["reasoning_tokens"] > 0
    assert (whole["finish_reason"], whole["model"]) == ("stop", MODEL)
    assert whole["usage"]["cost_usd"] > 0


async def test_the_default_model_is_asked_as_ever(gateway: Gateway) -> None:
    await gateway.ask({"message": "سلام", "tools": [TOOL]})
    assert paths(gateway) == ["/v1/chat/completions"]


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_goes_with_the_results_of_the_calls_it_led_to(gateway: Gateway, stream: bool) -> None:
    async def ask(body: dict[str, Any]) -> dict[str, Any]:
        return Told(await gateway.events(body)).last if stream else await gateway.ask(body)

    first = await ask({**BODY, "conversation_id": "conv-1", "tools": [TOOL]})
    assert first["finish_reason"] == "tool_calls"
    assert [call["name"] for call in first["tool_calls"]] == ["get_entry"] * 2
    assert first["thoughts"][0]["tool_calls"] in ([], ["get_entry"] * 2)
    follow_up = {"conversation_id": "conv-1", "messages": results(first), "tools": [TOOL], "provider": "openai", "model": MODEL}
    second = await ask(follow_up)
    assert all(result["content"] in second["content"] for result in results(first))
    asked = gateway.simulator.calls[-1]
    assert kinds(asked)[1:] == ["reasoning", "message", *["function_call"] * 2, *["function_call_output"] * 2]
    assert asked.status == 200


async def test_reasoning_is_kept_in_the_log(start_gateway: Start) -> None:
    first = await start_gateway(OPENAI_MODELS=MODEL)
    answer = await first.ask({**BODY, "conversation_id": "conv-1", "tools": [TOOL]})
    await first.close()
    second = await start_gateway(OPENAI_MODELS=MODEL)
    await second.ask({**BODY, "message": None, "conversation_id": "conv-1", "messages": results(answer), "tools": [TOOL]})
    assert kinds(second.simulator.calls[-1])[1] == "reasoning"


async def test_reasoning_that_is_refused_is_left_out(gateway: Gateway) -> None:
    answer = await gateway.ask({**BODY, "conversation_id": "conv-1", "tools": [TOOL]})
    refusal = {"code": "invalid_encrypted_content", "message": "The encrypted content gAAA could not be verified."}
    gateway.simulator.script(parse_text(f'status=400 code={refusal["code"]} message="{refusal["message"]}"'))
    again = {**BODY, "message": None, "conversation_id": "conv-1", "messages": results(answer), "tools": [TOOL]}
    assert (await gateway.ask(again))["status"] == "completed"
    refused, taken = gateway.simulator.calls[-2:]
    assert ("reasoning" in kinds(refused), "reasoning" in kinds(taken)) == (True, False)


@pytest.mark.parametrize("other", ["anthropic", "google", "groq"])
async def test_a_conversation_moves_between_providers(gateway: Gateway, other: str) -> None:
    for provider, following in ((other, "openai"), ("openai", other)):
        conversation = f"conv-{provider}"
        begun = {**BODY, "conversation_id": conversation, "tools": [TOOL], "provider": provider}
        answer = await gateway.ask(begun | {"model": MODEL if provider == "openai" else None})
        rest = {"conversation_id": conversation, "messages": results(answer), "tools": [TOOL], "provider": following}
        last = await gateway.ask(rest | {"model": MODEL if following == "openai" else None})
        assert (last["provider"], last["status"]) == (following, "completed")
        assert all(result["content"] in last["content"] for result in results(answer))


async def test_citations_and_refusals(gateway: Gateway) -> None:
    cited = await gateway.ask({**BODY, "message": "ما معنى سلام؟ مع مصدر"})
    assert [source["type"] for source in cited["sources"]] == ["url_citation"] * 2
    refused = await gateway.ask({**BODY, "message": "refuse"})
    assert (refused["finish_reason"], refused["content"] != "") == ("content_filter", True)
    cut = await gateway.ask({**BODY, "max_tokens": 16, "message": "long"})
    assert cut["finish_reason"] == "length"


@pytest.mark.parametrize("kind", ["reset", "close", "garbage", "error", "bare-error"])
@pytest.mark.parametrize("moment", ["mid", "before-done", "at-end"])
async def test_a_stream_that_breaks(gateway: Gateway, kind: str, moment: str) -> None:
    told = Told(await gateway.events({**BODY, "message": f"سلام [[sim: tokens=9 fault={kind}@{moment}]]"}))
    check_stream(told)
    text = "[محاكاة]" + " سلام" * 8
    assert told.names[-1] == ("done" if moment == "at-end" else "failed")
    assert told.text() == text if moment != "mid" else text.startswith(told.text())
    assert told.text() != ""


async def test_a_model_that_breaks_off_is_continued_by_another(start_gateway: Start) -> None:
    gateway = await start_gateway(
        FALLBACK_PROVIDERS="openai", OPENAI_MODEL=MODEL, CONTINUE_ON_BREAK="true", DEFAULT_PROVIDER="anthropic", MAX_RETRIES="0"
    )
    gateway.simulator.script(parse_text("tokens=9 fault=reset@mid provider=anthropic"), calls=1)
    gateway.simulator.script(parse_text("tokens=9 provider=openai"), calls=1)
    told = Told(await gateway.events({"message": "سلام"}))
    assert (told.last["status"], told.last["provider"]) == ("completed", "openai")
    assert kinds(gateway.simulator.calls[-1]) == ["user", "assistant", "user"]


async def test_an_image_and_a_forced_tool(gateway: Gateway) -> None:
    url = "data:image/png;base64,AAAA"
    content = [{"type": "text", "text": "ما هذا؟"}, {"type": "image_url", "image_url": {"url": url}}]
    await gateway.ask(
        {
            "messages": [{"role": "user", "content": content}],
            "provider": "openai",
            "model": "gpt-6-astra",
            "tools": [TOOL],
            "tool_choice": {"name": "get_entry"},
        }
    )
    body = gateway.simulator.calls[-1].body
    assert body["input"][0]["content"][1] == {"type": "input_image", "image_url": url, "detail": "auto"}
    assert body["tool_choice"] == {"type": "function", "name": "get_entry"}
    assert "reasoning_effort" not in json.dumps(body)
