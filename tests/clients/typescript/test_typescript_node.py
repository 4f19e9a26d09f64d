"""The TypeScript client in Node, on a connection that keeps breaking."""

import json
from typing import Any

import pytest

from gateway.core.errors import KINDS
from simulator import parse_text
from tests.clients.conftest import Receive
from tests.clients.programs import Node
from tests.clients.replies import ASKED, LONG, check, lasts
from tests.running import Gateway, Start
from tests.web.callers import API_KEY, closed

# Within a word; before the gateway hears of it; within the head; within an event.
CUTS = (2000, 0, 150, 1501)
# Before the gateway hears of it; within the head; within `start`; then as above.
EARLY_CUTS = (0, 150, 520, 2000, 0)


def of_type(told: dict[str, Any], *types: str) -> list[dict[str, Any]]:
    return [event for event in told["events"] if event["type"] in types]


async def check_told(gateway: Gateway, told: dict[str, Any]) -> None:
    """Every event came once, in order, and one of them was the last."""
    assert told["error"] is None
    spoken = [event["type"] for event in told["events"] if event["type"] != "connection"]
    assert (spoken[0], spoken[-1]) == ("start", "done")
    assert spoken.count("start") == spoken.count("done") == 1
    text = "".join(event["text"] for event in of_type(told, "token"))
    assert text == told["text"]
    await check(gateway, text, [event["reply"] for event in of_type(told, "done")])


@pytest.mark.parametrize(("way", "modules"), [("fetch", "esm"), ("xhr", "cjs")])
async def test_a_reply_is_gone_on_with(gateway: Gateway, receive: Receive, app: Node, way: str, modules: str) -> None:
    bad = await receive(*CUTS)
    told = await app("ask.mjs", {"base": bad.url, "body": ASKED, "way": way, "modules": modules})
    await check_told(gateway, told)
    assert [request.method for request in bad.requests] == ["POST", *["GET"] * len(CUTS)]
    assert None not in lasts(bad)[1:]
    states = [event["state"] for event in of_type(told, "connection")]
    assert states == ["lost", "open"] * (len(states) // 2) != []


@pytest.mark.parametrize("way", ["fetch", "xhr"])
async def test_a_question_is_put_again_until_it_is_heard(gateway: Gateway, receive: Receive, app: Node, way: str) -> None:
    bad = await receive(*EARLY_CUTS)
    told = await app("ask.mjs", {"base": bad.url, "body": ASKED, "way": way})
    await check_told(gateway, told)
    methods = [request.method for request in bad.requests]
    assert methods[:2] == ["POST", "POST"]
    assert methods == sorted(methods, reverse=True)
    keys = {request.headers["Idempotency-Key"] for request in bad.requests if request.method == "POST"}
    assert len(keys) == 1


@pytest.mark.parametrize("when", ["asked", "text"])
async def test_stop(gateway: Gateway, app: Node, when: str) -> None:
    told = await app("stop.mjs", {"base": gateway.url, "body": LONG, "when": when})
    assert (told["turnBefore"] is None) == (when == "asked")
    assert told["error"] is None
    [done] = of_type(told, "done")
    assert (done["reply"]["status"], done["reply"]["content"]) == ("stopped", told["text"])
    rows = await gateway.rows("SELECT status FROM messages WHERE role = 'assistant'")
    assert rows == [{"status": "stopped"}]


async def test_an_app_that_was_killed_finds_its_reply(gateway: Gateway, receive: Receive, app: Node) -> None:
    bad = await receive(3000, 1501)
    told = await app("killed.mjs", {"base": bad.url, "body": ASKED})
    assert (told["aborted"]["error"]["name"], told["unknown"]) == ("AbortError", True)
    [read] = told["reads"]
    await check_told(gateway, read)
    assert told["active"] == [of_type(read, "done")[0]["reply"]["turn_id"]]


async def test_tools(gateway: Gateway, app: Node) -> None:
    gateway.simulator.script(parse_text("tools=2"))
    told = await app("tools.mjs", {"base": gateway.url, "body": {"message": "ما معنى «كتاب» وما معنى «سلام»؟"}})
    assert told["error"] is None
    assert [event["round"] for event in of_type(told, "round")] == [1]
    results = [event["result"] for event in of_type(told, "tool_result")]
    [failed] = [result for result in results if "error" in result]
    [found] = [result for result in results if "error" not in result]
    assert json.loads(failed["content"]) == {"error": "لا توجد هذه الكلمة في المعجم"}
    assert json.loads(found["content"]) == {**found["call"]["arguments"], "meaning": "ما يُكتَب فيه"}
    [done] = of_type(told, "done")
    assert done["reply"] == told["reply"]
    assert told["reply"]["finish_reason"] == "stop"
    rows = await gateway.rows("SELECT result FROM tool_calls ORDER BY id")
    assert sorted("error" in row["result"] for row in rows) == [False, True]
    questions = await gateway.rows("SELECT count(*) AS questions FROM messages WHERE role = 'user'")
    assert questions == [{"questions": 1}]
    assert set(told["retryable"]) == {code for code, kind in KINDS.items() if kind.retryable}


async def test_a_model_that_calls_and_calls_has_to_answer_in_the_end(gateway: Gateway, app: Node) -> None:
    gateway.simulator.script(parse_text("tools=2"), calls=None)
    told = await app("tools.mjs", {"base": gateway.url, "body": {"message": "ما معنى «كتاب»؟"}, "maxRounds": 2})
    assert [event["round"] for event in of_type(told, "round")] == [1, 2]
    assert len(of_type(told, "done")) == 1
    sent = [call.body for call in gateway.simulator.calls]
    assert [body.get("tool_choice") for body in sent] == [None, None, "none"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", {"name": "InvalidRequestError", "code": "invalid_request", "status": 422, "retryable": False, "turnId": None}),
        ("سلام [[sim: status=429 retry_after=60]]", {"name": "ProviderError", "code": "provider_overloaded", "retryAfter": 60}),
        ("سلام [[sim: fault=close@mid]]", {"name": "ProviderError", "code": "provider_error", "status": 502, "retryable": True}),
    ],
    ids=["refused", "overloaded", "broken"],
)
async def test_failures(gateway: Gateway, app: Node, message: str, expected: dict[str, Any]) -> None:
    told = await app("ask.mjs", {"base": gateway.url, "body": {"message": message}})
    assert {name: told["error"][name] for name in expected} == expected
    assert told["error"]["detail"].endswith(".")
    assert told["error"]["requestId"]
    assert of_type(told, "done") == []
    assert "".join(event["text"] for event in of_type(told, "token")) == told["text"]


async def test_who_asks(start_gateway: Start, app: Node) -> None:
    gateway = (await closed(start_gateway)).gateway
    body = {"message": "سلام"}
    stranger = await app("ask.mjs", {"base": gateway.url, "body": body})
    assert stranger["error"]["name"] == "AuthenticationError"
    known = await app("ask.mjs", {"base": gateway.url, "body": body, "token": API_KEY})
    assert known["error"] is None
