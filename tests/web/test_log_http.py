"""The log over HTTP: pages, filters, conversations, what runs in them, and forgetting them."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from gateway.web import schemas
from simulator import Script
from tests.running import Gateway, Start, Told
from tests.web.shapes import check, check_problem

STALLED = "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]"


async def listed(gateway: Gateway, query: str = "", **headers: str) -> list[str]:
    """Ids of the conversations on a page."""
    answer = await gateway.client.get(f"/conversations?{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    check(schemas.ConversationPage, answer.json())
    return [found["id"] for found in answer.json()["conversations"]]


async def test_an_empty_log(gateway: Gateway) -> None:
    assert (await gateway.client.get("/conversations")).json() == {"conversations": [], "next_cursor": None}
    check_problem(await gateway.client.get("/conversations/conv-1"), "not_found")
    check_problem(await gateway.client.delete("/conversations/conv-1"), "not_found")


async def test_pages_follow_each_other_newest_activity_first(gateway: Gateway) -> None:
    names = [f"conv-{number}" for number in range(7)]
    for name in names:
        await gateway.ask({"message": "سلام", "conversation_id": name})
    await gateway.ask({"message": "وعليكم السلام", "conversation_id": "conv-2"})
    expected = ["conv-2", "conv-6", "conv-5", "conv-4", "conv-3", "conv-1", "conv-0"]
    assert await listed(gateway) == expected

    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await gateway.client.get("/conversations", params={"limit": 3, "cursor": cursor})).json()
        found += [one["id"] for one in page["conversations"]]
        cursor = page["next_cursor"]
    assert found == expected
    counts = {one["id"]: one["message_count"] for one in (await gateway.client.get("/conversations")).json()["conversations"]}
    assert (counts["conv-2"], counts["conv-0"]) == (4, 2)


async def test_filters(start_gateway: Start, subtests: pytest.Subtests) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    await gateway.ask({"message": "ما معنى كِتاب؟", "conversation_id": "conv-open"})
    await gateway.ask({"message": "ما معنى 100%؟", "conversation_id": "conv-percent", "provider": "groq"})
    gateway.simulator.script(Script(status=500))
    await gateway.client.post("/chat", json={"message": "سؤالٌ خاب", "conversation_id": "conv-failed", "provider": "google"})
    everything = ["conv-failed", "conv-percent", "conv-open"]
    for query, expected in {
        "": everything,
        "provider=groq": ["conv-percent"],
        "provider=google&status=failed": ["conv-failed"],
        "provider=gemini": ["conv-failed"],
        "status=completed": ["conv-percent", "conv-open"],
        "status=interrupted": [],
        "q=" + quote("كِتاب"): ["conv-open"],
        "q=" + quote("100%"): ["conv-percent"],
        "q=%25": [],
        "q=_______________________________________________": [],
        "since=2020-01-01": everything,
        "since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00%2B03:00": everything,
        "until=2020-01-01T00:00:00": [],
        "since=2100-01-01": [],
        "since=1500000000": everything,
        "user=user:7": [],
        "limit=1": ["conv-failed"],
        "limit=500&cursor=&provider=&user=&status=&q=&since=&until=": everything,
        "unknown=1": everything,
        "q=%00%ff%f0": [],
    }.items():
        with subtests.test(query=query):
            assert await listed(gateway, query) == expected


async def test_queries_that_are_not_valid(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for query in (
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=ten",
        "limit=1.5",
        "limit=99999999999999999999",
        "cursor=nonsense",
        "cursor=W10=",
        "cursor=" + "a" * 2000,
        "status=done",
        "since=yesterday",
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
        "since=1e400",
        "q=" + "a" * 501,
    ):
        with subtests.test(query=query):
            check_problem(await gateway.client.get(f"/conversations?{query}"), "invalid_request")


@pytest.mark.parametrize(
    "name",
    ["conv-1732000000000-k3j9x", "a/b", "a%2Fb", "؟ سلام", "a?b#c", " ", "%00", "..%2e", "س" * 200, "'; DROP TABLE messages; --"],
)
async def test_any_id_that_is_accepted_can_be_asked_for(gateway: Gateway, name: str) -> None:
    reply = await gateway.ask({"message": "سلام", "conversation_id": name})
    assert reply["conversation_id"] == name
    path = f"/conversations/{quote(name, safe='')}"
    shown = (await gateway.client.get(path)).json()
    assert (shown["id"], len(shown["messages"])) == (name, 2)
    assert (await gateway.client.delete(path)).status_code == 204
    check_problem(await gateway.client.get(path), "not_found")


async def test_a_running_turn_shows_in_its_conversation(gateway: Gateway) -> None:
    body = {"message": STALLED, "conversation_id": "conv-1"}
    async with gateway.streaming(body) as source:
        turn_id = source.response.headers["X-Turn-Id"]
        await gateway.simulator.until(lambda simulator: simulator.calls[-1].stalled)
        first = (await gateway.client.get("/conversations/conv-1")).json()
        check(schemas.Conversation, first)
        assert (first["messages"], first["active_turns"], first["provider"]) == ([], [turn_id], "openai")
        assert (await gateway.client.get("/health")).json()["active_turns"] == 1
        gateway.simulator.release()
        told = Told([event async for event in source.aiter_sse()])
    ended = (await gateway.client.get("/conversations/conv-1")).json()
    check(schemas.Conversation, ended)
    assert ended.keys() == first.keys()
    assert ended["active_turns"] == []
    assert ended["messages"][1]["content"] == told.last["content"]


async def test_a_failed_turn_shows_why(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    told = Told(await gateway.events({"message": "سلام [[sim: fault=reset@mid]]", "conversation_id": "conv-1"}))
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    check(schemas.Conversation, shown)
    question, answer = shown["messages"]
    assert (question["status"], answer["status"]) == ("failed", "failed")
    assert answer["content"] == told.text()
    assert answer["error"] == {name: told.last[name] for name in ("code", "detail", "retryable")}


async def test_turns_at_once_in_one_conversation_do_not_mix(gateway: Gateway) -> None:
    questions = [f"سؤالٌ رقم {number}" for number in range(8)]
    await asyncio.gather(*(gateway.ask({"message": one, "conversation_id": "conv-1"}) for one in questions))
    messages = (await gateway.client.get("/conversations/conv-1")).json()["messages"]
    pairs = list(zip(messages[::2], messages[1::2], strict=True))
    assert sorted(question["content"] for question, _ in pairs) == questions
    for question, answer in pairs:
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert question["turn_id"] == answer["turn_id"]


async def test_deleting_a_conversation(start_gateway: Start) -> None:
    gateway = await start_gateway()
    reply = await gateway.ask({"message": "سلام", "conversation_id": "conv-1"})
    await gateway.ask({"message": "سلام", "conversation_id": "conv-2"})
    assert (await gateway.client.delete("/conversations/conv-1")).status_code == 204
    check_problem(await gateway.client.get("/conversations/conv-1"), "not_found")
    check_problem(await gateway.client.delete("/conversations/conv-1"), "not_found")
    assert (await gateway.client.get(f"/chat/stream/{reply['turn_id']}")).status_code in (404, 503)
    assert await listed(gateway) == ["conv-2"]
    assert await gateway.rows("SELECT id FROM messages WHERE conversation_id = 'conv-1'") == []
    await gateway.ask({"message": "من جديد", "conversation_id": "conv-1"})
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    assert shown["messages"][0]["content"] == "من جديد"
    assert len(gateway.simulator.calls[-1].body["messages"]) == 1


async def test_deleting_a_conversation_stops_what_runs_in_it(gateway: Gateway) -> None:
    async with gateway.streaming({"message": STALLED, "conversation_id": "conv-1"}) as source:
        await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
        assert (await gateway.client.delete("/conversations/conv-1")).status_code == 204
        told = Told([event async for event in source.aiter_sse()])
    assert told.last["status"] == "stopped"
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    check_problem(await gateway.client.get("/conversations/conv-1"), "not_found")
    assert await gateway.rows("SELECT id FROM messages") == []


async def test_the_operators_queries_work_as_they_stand(gateway: Gateway) -> None:
    tools: list[dict[str, Any]] = [{"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}]
    body = {"message": "ابحث عن «كتب»", "conversation_id": "your-id", "tools": tools}
    reply = await gateway.ask(body)
    [conversation] = await gateway.rows("SELECT id, provider, created_at FROM conversations ORDER BY created_at DESC LIMIT 10;")
    assert (conversation["id"], conversation["provider"]) == ("your-id", "openai")
    messages = await gateway.rows(
        "SELECT role, content, timestamp FROM messages WHERE conversation_id = 'your-id' ORDER BY timestamp;"
    )
    assert [(row["role"], row["content"]) for row in messages] == [("user", body["message"]), ("assistant", reply["content"])]
    assert messages[0]["timestamp"] < messages[1]["timestamp"]
    [call] = await gateway.rows("SELECT message_id, tool_name, arguments, result, timestamp FROM tool_calls")
    assert (str(call["message_id"]), json.loads(call["arguments"])) == (reply["message_id"], reply["tool_calls"][0]["arguments"])
