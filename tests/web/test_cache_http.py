"""CACHE_TTL_S: which questions are answered by what was said before, how such answers look, and who may not have them."""

from pathlib import Path
from typing import Any

import pytest

from gateway.web import schemas, schemas_openai
from simulator import parse_text
from tests.running import PROVIDERS, Gateway, Start, Told
from tests.web.callers import ADMIN, API_KEY, bearer, closed
from tests.web.shapes import check, check_problem, check_stream

DAY = {"CACHE_TTL_S": "86400"}
QUESTION = "ما معنى «كِتَاب»؟ فكّر واذكر المصادر"
FREE = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0, "cost_usd": 0.0}
SAID = ("content", "sources", "provider", "model", "status", "finish_reason", "tool_calls")
PATH = "/v1/chat/completions"


def said(reply: dict[str, Any]) -> dict[str, Any]:
    return {name: reply[name] for name in SAID}


def thoughts(reply: dict[str, Any]) -> list[str]:
    return [thought["content"] for thought in reply["thoughts"]]


async def test_the_same_question_again(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY, DEFAULT_PROVIDER="anthropic")
    first = await gateway.ask({"message": QUESTION})
    assert "cached" not in first
    assert (first["usage"]["cost_usd"] > 0, bool(first["thoughts"]), bool(first["sources"])) == (True, True, True)

    whole = await gateway.ask({"messages": [{"role": "user", "content": f"  {QUESTION.replace(' ', chr(0xA0))} "}]})
    told = Told(await gateway.events({"message": QUESTION, "conversation_id": "conv-1732000000000-k3j9x"}))
    check_stream(told)
    assert set(told.names) == {"start", "thought", "token", "source", "done"}
    assert (told.text(), told.text("thought")) == (first["content"], "".join(thoughts(first)))
    for reply in (whole, told.last):
        check(schemas.ChatReply, reply)
        assert (said(reply), thoughts(reply)) == (said(first), thoughts(first))
        assert (reply["cached"], reply["usage"], reply["logged"]) == (True, FREE, "stored")
    ids = [(reply["turn_id"], reply["conversation_id"], reply["message_id"]) for reply in (first, whole, told.last)]
    assert all(len(set(column)) == 3 for column in zip(*ids, strict=True))
    assert len(gateway.simulator.calls) == 1

    # A turn like any other: stored, resumed, read again.
    again = Told(await gateway.events(turn_id=told.last["turn_id"]))
    assert [event.data for event in again.events] == [event.data for event in told.events]
    rest = Told(await gateway.events(turn_id=told.last["turn_id"], last_event_id=told.events[1].id))
    assert [event.data for event in rest.events] == [event.data for event in told.events[2:]]
    stored = (await gateway.client.get("/conversations/conv-1732000000000-k3j9x")).json()
    check(schemas.Conversation, stored)
    question, reply = stored["messages"]
    assert (question["content"], reply["content"], reply["cached"], reply["usage"]) == (QUESTION, first["content"], True, FREE)
    metrics = (await gateway.client.get("/metrics")).text
    assert 'gateway_answers_total{result="hit"} 2.0' in metrics
    assert 'gateway_answers_total{result="miss"} 1.0' in metrics


async def test_clients_of_openais_format(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    first = await gateway.ask({"message": "ما معنى «قلم»؟"})
    asked = {"model": "openai/gpt-6-luna", "messages": [{"role": "user", "content": "ما معنى «قلم»؟"}]}
    whole = (await gateway.client.post(PATH, json=asked)).json()
    check(schemas_openai.ChatCompletion, whole)
    assert whole["choices"][0]["message"]["content"] == first["content"]
    assert (whole["cached"], whole["usage"]["total_tokens"], whole["usage"]["cost"]) == (True, 0, 0.0)
    streamed = (await gateway.client.post(PATH, json=asked | {"stream": True})).text
    assert streamed.count('"cached":true') == 1
    assert streamed.endswith("data: [DONE]\n\n")
    assert len(gateway.simulator.calls) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "other vowel marks": {"message": "ما معنى «عَلَم»؟"},
    "other words": {"message": "ما معنى «عِلم» ؟!"},
    "a system prompt": {"message": "ما معنى «عِلم»؟", "system_prompt": "أجب بإيجاز"},
    "temperature": {"message": "ما معنى «عِلم»؟", "temperature": 0.5},
    "max_tokens": {"message": "ما معنى «عِلم»؟", "max_tokens": 4000},
    "provider": {"message": "ما معنى «عِلم»؟", "provider": "groq"},
    "a history": {
        "messages": [
            {"role": "user", "content": "السلام عليكم"},
            {"role": "assistant", "content": "وعليكم السلام"},
            {"role": "user", "content": "ما معنى «عِلم»؟"},
        ]
    },
    "a history in the log": {"message": "ما معنى «عِلم»؟", "conversation_id": "first"},
    "tools": {
        "message": "ما معنى «عِلم»؟",
        "tools": [{"name": "search", "parameters": {"type": "object"}}],
        "tool_choice": "none",
    },
    "an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "ما معنى «عِلم»؟"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                ],
            }
        ]
    },
}


async def test_what_is_another_question(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    await gateway.ask({"message": "ما معنى «عِلم»؟", "conversation_id": "first"})
    for name, body in OTHERS.items():
        reply = await gateway.ask(body)
        assert "cached" not in reply, name
    assert len(gateway.simulator.calls) == 1 + len(OTHERS)
    # A conversation in which nothing was said yet, and one whose only question was never answered.
    for conversation in ("new", "new-2"):
        assert (await gateway.ask({"message": "ما معنى «عِلم»؟", "conversation_id": conversation}))["cached"]


@pytest.mark.parametrize("script", ["finish=length", "finish=refusal", "status=400", "fault=reset@mid"])
async def test_what_is_no_answer(start_gateway: Start, script: str) -> None:
    gateway = await start_gateway(**DAY, MAX_RETRIES="0")
    gateway.simulator.script(parse_text(script))
    await gateway.client.post("/chat/stream", json={"message": "ما معنى «صبر»؟"})
    assert "cached" not in await gateway.ask({"message": "ما معنى «صبر»؟"})
    assert (await gateway.ask({"message": "ما معنى «صبر»؟"}))["cached"]
    assert len(gateway.simulator.calls) == 2


async def test_another_providers_answer_is_its_own(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY, MAX_RETRIES="0", FALLBACK_PROVIDERS="groq")
    gateway.simulator.script(parse_text("provider=openai status=500"))
    assert (await gateway.ask({"message": "ما معنى «نور»؟"}))["provider"] == "groq"
    again = await gateway.ask({"message": "ما معنى «نور»؟"})
    assert (again["provider"], "cached" in again) == ("openai", False)


async def test_what_was_deleted_or_is_old_answers_nobody(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    first = await gateway.ask({"message": "ما معنى «بحر»؟"})
    other = await gateway.ask({"message": "ما معنى «بحر»؟"})
    assert other["cached"]
    await gateway.client.delete(f"/conversations/{first['conversation_id']}")
    # The copy answered its own caller alone.
    assert "cached" not in await gateway.ask({"message": "ما معنى «بحر»؟"})
    await gateway.rows("UPDATE messages SET ended_ms = ended_ms - 86401000 WHERE role = 'assistant'")
    assert "cached" not in await gateway.ask({"message": "ما معنى «بحر»؟"})
    assert (await gateway.ask({"message": "ما معنى «بحر»؟"}))["cached"]


async def test_callers_who_want_none(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    body = {"message": "ما معنى «شمس»؟"}
    assert "cached" not in await gateway.ask(body, cache_control="no-store")
    assert "cached" not in await gateway.ask(body), "what came with no-store answers nobody else"
    assert "cached" not in await gateway.ask(body, cache_control="max-age=0, No-Cache")
    assert "cached" not in await gateway.ask(body, cache_control="no-store")
    assert (await gateway.ask(body))["cached"]
    # What readers of server-sent events send without being asked to.
    events = {"accept": "text/event-stream", "cache_control": "no-cache"}
    assert Told(await gateway.events(body, **events)).last["cached"]
    assert "cached" not in Told(await gateway.events(body, **events | {"cache_control": "no-store"})).last


async def test_it_is_a_question_all_the_same(start_gateway: Start) -> None:
    world = await closed(start_gateway, **DAY, DAILY_REQUEST_LIMIT="2", USER_DAILY_BUDGET_USD="5")
    first = await world.ask(bearer(API_KEY))
    user = await world.signed_in()
    for _ in range(2):
        reply = await world.ask(user, conversation_id=None)
        assert (reply["cached"], reply["usage"]["cost_usd"]) == (True, 0)
    check_problem(await world.send("POST", "/chat", user, json={"message": "ما معنى «كتاب»؟"}), "daily_limit_reached")
    stats = (await world.send("GET", "/stats", bearer(ADMIN))).json()
    assert stats["cost_usd"] == first["usage"]["cost_usd"]
    assert len(world.gateway.simulator.calls) == 1


async def test_a_key_is_bound_to_it(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    await gateway.ask({"message": "ما معنى «قمر»؟"})
    reply = await gateway.ask({"message": "ما معنى «قمر»؟"}, idempotency_key="k-1")
    assert reply["cached"]
    assert await gateway.ask({"message": "ما معنى «قمر»؟"}, idempotency_key="k-1") == reply


async def test_what_the_simulator_said_answers_for_no_provider(start_gateway: Start, tmp_path: Path) -> None:
    asked = {"message": "ما معنى «شمس»؟"}
    keyless = dict.fromkeys((f"{name.upper()}_API_KEY" for name in PROVIDERS), "")
    simulated, another = [await start_gateway(**DAY, **keyless, DATA_DIR=str(tmp_path / name)) for name in ("one", "two")]
    first = await simulated.ask(asked)
    # Each process has a simulator of its own.
    for gateway in (simulated, another):
        again = await gateway.ask(asked)
        assert (again["content"], again["cached"], again["simulated"]) == (first["content"], True, True)
    real = await start_gateway(**DAY)
    assert not {"cached", "simulated"} & (await real.ask(asked)).keys()
    assert (await real.ask(asked))["cached"]


async def test_without_the_setting_every_question_is_asked(gateway: Gateway) -> None:
    for _ in range(2):
        assert "cached" not in await gateway.ask({"message": "ما معنى «كتاب»؟"})
    assert len(gateway.simulator.calls) == 2
    assert "gateway_answers_total{" not in (await gateway.client.get("/metrics")).text
    assert await gateway.rows("SELECT FROM messages WHERE question_hash IS NOT NULL") == []


async def test_who_follows_is_not_stopped_with_the_first(start_gateway: Start) -> None:
    gateway = await start_gateway(**DAY)
    body = {"message": "ما معنى «نهر»؟"}
    gateway.simulator.script(parse_text("fault=stall@mid"))
    async with gateway.streaming(body) as first, gateway.streaming(body) as second:
        before, after = first.aiter_sse(), second.aiter_sse()
        seen = [await anext(after), await anext(after)]
        assert (await anext(before)).event == "start"
        await gateway.client.delete(f"/chat/stream/{first.response.headers['X-Turn-Id']}")
        stopped = Told([event async for event in before if event.data])
        told = Told(seen + [event async for event in after if event.data])
    check_stream(told)
    assert [event.event for event in seen] == ["start", "token"]
    assert (stopped.last["status"], told.last["status"]) == ("stopped", "completed")
    assert told.last["content"] == told.text()
    assert told.text().startswith(stopped.text())
    assert [data["state"] for data in told.data("status")] == ["retrying"]
    assert (told.last["usage"]["cost_usd"] > 0, "cached" in told.last) == (True, False)
    assert len(gateway.simulator.calls) == 2
    assert stopped.text().rstrip() in str(gateway.simulator.calls[1].body["messages"])
