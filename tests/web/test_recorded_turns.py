"""Every recorded reply of every provider, asked for over HTTP: what the client gets, what the log holds, what the log tells."""

import json
from typing import Any

import pytest

from gateway.web import schemas
from simulator import Script
from tests.providers.expectations import finish_reason
from tests.providers.fixture_cases import Case, replies, streams
from tests.running import PROVIDERS, Gateway, Start, Told
from tests.web.shapes import check, check_problem, check_stream

QUESTION = "ما معنى كلمة «سَلْسَبيل»؟"


def fails(case: Case) -> bool:
    return case.expected["error"] is not None or case.expected.get("complete") is False


def check_reply(case: Case, reply: dict[str, Any]) -> None:
    """A good reply says what the recording says."""
    check(schemas.ChatReply, reply)
    expected = case.expected
    assert reply["content"] == (expected.get("refusal") or expected["text"])
    assert "".join(thought["content"] for thought in reply["thoughts"]) == expected["thoughts"]
    assert [(call["name"], call["arguments"]) for call in reply["tool_calls"]] == [
        (call["name"], call["arguments"]) for call in expected["tool_calls"]
    ]
    assert [(source["type"], source["title"], source["url"]) for source in reply["sources"]] == [
        (source["type"], source.get("title"), source.get("url")) for source in expected["sources"]
    ]
    empty = case.provider == "google" and expected["finish_reason"] is None
    assert reply["finish_reason"] == ("error" if empty else finish_reason(expected))
    assert reply["usage"]["output_tokens"] == (expected["usage"] or {}).get("output_tokens")
    assert (reply["provider"], reply["status"], reply["logged"]) == (case.provider, "completed", "stored")


async def check_log(gateway: Gateway, reply: dict[str, Any]) -> None:
    """The rows in PostgreSQL, and GET /conversations/{id}, equal the reply."""
    [row] = await gateway.rows("SELECT * FROM messages WHERE id = $1", int(reply["message_id"]))
    assert row["content"] == reply["content"]
    assert str(row["turn_id"]) == reply["turn_id"]
    assert [row[name] for name in ("status", "provider", "model", "finish_reason")] == [
        reply[name] for name in ("status", "provider", "model", "finish_reason")
    ]
    assert {name: row[name] for name in reply["usage"]} == reply["usage"]
    calls = await gateway.rows("SELECT * FROM tool_calls WHERE message_id = $1 ORDER BY id", row["id"])
    assert [(call["tool_name"], json.loads(call["arguments"]), call["result"]) for call in calls] == [
        (call["name"], call["arguments"], None) for call in reply["tool_calls"]
    ]

    shown = (await gateway.client.get(f"/conversations/{reply['conversation_id']}")).json()
    check(schemas.Conversation, shown)
    question, answer = shown["messages"]
    assert (question["role"], question["content"], question["turn_id"]) == ("user", QUESTION, reply["turn_id"])
    assert question["timestamp"] < answer["timestamp"]
    for name in ("content", "thoughts", "sources", "usage", "finish_reason", "status", "turn_id"):
        assert answer[name] == reply[name]
    assert answer["id"] == reply["message_id"]
    assert [(call["id"], call["tool_name"]) for call in answer["tool_calls"]] == [
        (call["id"], call["name"]) for call in reply["tool_calls"]
    ]


async def check_failed_row(gateway: Gateway, turn_id: str, case: Case, code: str) -> None:
    """A failed turn is in the log with what had come, and with its error."""
    question, answer = await gateway.rows("SELECT * FROM messages WHERE turn_id = $1 ORDER BY id", turn_id)
    assert (question["role"], question["status"], answer["status"]) == ("user", "failed", "failed")
    assert answer["content"] == case.expected["text"]
    assert json.loads(answer["error"])["code"] == code


@pytest.fixture
async def once(start_gateway: Start) -> Gateway:
    """A gateway that takes a provider's first answer for its last."""
    return await start_gateway(MAX_RETRIES="0")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_whole_replies(once: Gateway, subtests: pytest.Subtests, provider: str) -> None:
    for case in replies(provider):
        with subtests.test(case=str(case)):
            once.simulator.script(Script(fixture=case.name))
            answer = await once.client.post("/chat", json={"message": QUESTION, "provider": provider})
            if fails(case):
                problem = check_problem(answer, answer.json()["code"])
                await check_failed_row(once, problem["turn_id"], case, problem["code"])
            else:
                assert answer.status_code == 200, answer.text
                assert answer.headers["X-Turn-Id"] == answer.json()["turn_id"]
                check_reply(case, answer.json())
                await check_log(once, answer.json())
            assert once.simulator.calls[-1].stream is False


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_streams(once: Gateway, subtests: pytest.Subtests, provider: str) -> None:
    for case in streams(provider):
        with subtests.test(case=str(case)):
            once.simulator.script(Script(fixture=case.name))
            async with once.streaming({"message": QUESTION, "provider": provider}) as source:
                if source.response.status_code != 200:
                    await source.response.aread()
                    assert fails(case)
                    assert not case.expected["text"] + case.expected["thoughts"]
                    problem = check_problem(source.response, source.response.json()["code"])
                    await check_failed_row(once, problem["turn_id"], case, problem["code"])
                    continue
                headers = source.response.headers
                told = Told([event async for event in source.aiter_sse()])
            check_stream(told)
            assert headers["X-Turn-Id"] == told.data("start")[0]["turn_id"]
            assert told.text() == (case.expected.get("refusal") or case.expected["text"])
            assert told.text("thought") == case.expected["thoughts"]
            if fails(case):
                assert told.names[-1] == "failed"
                await check_failed_row(once, told.last["turn_id"], case, told.last["code"])
            else:
                assert told.names[-1] == "done"
                check_reply(case, told.last)
                assert told.data("tool_call") == told.last["tool_calls"]
                assert told.data("source") == told.last["sources"]
                await check_log(once, told.last)
            assert once.simulator.calls[-1].stream is True


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_stream_cut_anywhere_is_the_same_reply(gateway: Gateway, provider: str) -> None:
    """The reply does not depend on how the provider's bytes arrive."""
    name = "derived-stream-text-arabic"
    expected = next(case for case in streams(provider) if case.name == name).expected["text"]
    for chunks in ("whole", "bytes:1", "bytes:3", "random:7"):
        body = {"message": f"{QUESTION} [[sim: fixture={name} chunks={chunks}]]", "provider": provider}
        told = Told(await gateway.events(body))
        check_stream(told)
        assert told.text() == told.last["content"] == expected


async def test_done_has_the_shape_of_a_whole_reply(gateway: Gateway) -> None:
    body = {"message": "فكّر في معنى «كتاب» واذكر المصادر", "provider": "anthropic"}
    whole = await gateway.ask(body)
    done = Told(await gateway.events(body)).last
    own = ("message_id", "turn_id", "conversation_id", "usage", "thoughts")
    assert {key: value for key, value in whole.items() if key not in own} == {
        key: value for key, value in done.items() if key not in own
    }
    assert whole.keys() == done.keys()
    assert "".join(thought["content"] for thought in whole["thoughts"]) == "".join(
        thought["content"] for thought in done["thoughts"]
    )
