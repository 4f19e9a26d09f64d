"""A turn that runs in one process, read, joined, stopped and deleted through another."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from httpx_sse import ServerSentEvent

from tests.faults.conftest import StartPair
from tests.running import Gateway, Told
from tests.web.shapes import check_problem, check_stream

Pair = tuple[Gateway, Gateway]

ASKED: dict[str, Any] = {"message": "فكّر ما معنى «كتاب»؟ مصدر", "provider": "anthropic", "conversation_id": "conv-1"}
STALLED: dict[str, Any] = ASKED | {"message": ASKED["message"] + " [[sim: fault=stall@mid]]"}
SILENT: dict[str, Any] = ASKED | {"message": "سلام [[sim: fault=stall@before-head]]"}


async def stalled(gateway: Gateway) -> None:
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)


async def running_turn(gateway: Gateway, body: dict[str, Any], **headers: str) -> tuple[str, asyncio.Task[list[ServerSentEvent]]]:
    """Ask a question whose reply stalls; its turn id and the reading of it."""
    reading = asyncio.create_task(gateway.events(body, **headers))
    await stalled(gateway)
    found = await gateway.client.get(f"/conversations/{body['conversation_id']}")
    [turn_id] = found.json()["active_turns"]
    return turn_id, reading


async def test_reading_elsewhere(pair: Pair) -> None:
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    ways = [
        asyncio.create_task(two.events(turn_id=turn_id)),
        asyncio.create_task(two.events(turn_id=turn_id, last_event_id=f"{turn_id}.0")),
        asyncio.create_task(two.events(STALLED, last_event_id=f"{turn_id}.0")),
    ]
    async with two.streaming(turn_id=turn_id) as source:
        events = source.aiter_sse()
        while (await anext(events)).event != "token":
            pass
    one.simulator.release()
    here, *there = [Told(await way) for way in (reading, *ways)]
    check_stream(here)
    check_stream(there[0])
    for told in there:
        assert told.text() == here.text() == here.last["content"]
        assert told.text("thought") == here.text("thought") != ""
        assert told.data("source") == here.data("source") != []
        assert told.last == here.last
        assert told.events[-1].id == here.events[-1].id
    assert len(one.simulator.calls) == 1


async def test_stopping_elsewhere(pair: Pair) -> None:
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    there = asyncio.create_task(two.events(turn_id=turn_id))
    async with two.streaming(turn_id=turn_id) as source:
        await anext(source.aiter_sse())
        answer = await two.client.delete(f"/chat/stream/{turn_id}")
        assert (answer.status_code, answer.json()) == (202, {"turn_id": turn_id, "status": "stopping"})
    await one.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    for told in (Told(await reading), Told(await there)):
        check_stream(told)
        assert (told.last["status"], told.last["finish_reason"]) == ("stopped", None)
        assert told.text() == told.last["content"] != ""
    check_problem(await two.client.delete(f"/chat/stream/{turn_id}"), "turn_ended")
    [row] = await one.rows("SELECT content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'", turn_id)
    assert (row["content"], row["status"]) == (told.text(), "stopped")


async def test_stopping_by_key_elsewhere_before_anything_came(pair: Pair) -> None:
    one, two = pair
    _, reading = await running_turn(one, SILENT, idempotency_key="k-1")
    answer = await two.client.delete("/chat/stream", headers={"Idempotency-Key": "k-1"})
    assert answer.status_code == 202
    told = Told(await reading)
    assert told.names == ["start", "done"]
    assert (told.last["status"], told.last["turn_id"]) == ("stopped", answer.json()["turn_id"])
    await one.simulator.until(lambda simulator: simulator.calls[-1].aborted)


async def test_a_hundred_with_one_key_in_two_processes(pair: Pair) -> None:
    asked = [
        gateway.client.post(path, json=ASKED, headers={"Idempotency-Key": "k-1"})
        for _ in range(25)
        for gateway in pair
        for path in ("/chat", "/chat/stream")
    ]
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    bodies = [
        json.loads(answer.text.rpartition("data: ")[2]) if "event-stream" in answer.headers["Content-Type"] else answer.json()
        for answer in answers
    ]
    assert all(body == bodies[0] for body in bodies)
    assert len(pair[0].simulator.calls) == 1
    [count] = await pair[0].rows("SELECT count(*) AS turns FROM messages WHERE role = 'assistant'")
    assert count["turns"] == 1
    other = await pair[1].client.post("/chat", json=SILENT, headers={"Idempotency-Key": "k-1"})
    check_problem(other, "idempotency_mismatch")


async def test_a_whole_reply_joined_elsewhere(pair: Pair) -> None:
    one, two = pair
    _, reading = await running_turn(one, STALLED, idempotency_key="k-1")
    joining = asyncio.create_task(two.ask(STALLED, idempotency_key="k-1"))
    wrong = await two.client.post("/chat", json=SILENT, headers={"Idempotency-Key": "k-1"})
    check_problem(wrong, "idempotency_mismatch")
    one.simulator.release()
    assert await joining == Told(await reading).last
    assert len(one.simulator.calls) == 1


async def test_a_failure_is_told_elsewhere(start_pair: StartPair) -> None:
    one, two = await start_pair(MAX_RETRIES="0", IDLE_TIMEOUT_S="0.3")
    _, reading = await running_turn(one, STALLED, idempotency_key="k-1")
    joining = asyncio.create_task(two.events(STALLED, idempotency_key="k-1"))
    here, there = Told(await reading), Told(await joining)
    check_stream(there)
    assert there.names[-1] == "failed"
    assert here.last == there.last
    assert there.text() == here.text() != ""
    # It frees the key, there as well as here.
    one.simulator.release()
    assert (await two.ask(STALLED | {"message": "سلام"}, idempotency_key="k-1"))["status"] == "completed"


async def test_a_conversation_whose_turn_runs_elsewhere(pair: Pair) -> None:
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    there = (await two.client.get("/conversations/conv-1")).json()
    assert (there["active_turns"], there["messages"], there["provider"]) == ([turn_id], [], "anthropic")
    assert (await two.client.delete("/conversations/conv-1")).status_code == 204
    told = Told(await reading)
    assert told.last["status"] == "stopped"
    for gateway in pair:
        check_problem(await gateway.client.get("/conversations/conv-1"), "not_found")
    assert await one.rows("SELECT 1 FROM messages") == []


async def test_a_turn_is_its_callers_elsewhere_too(start_pair: StartPair) -> None:
    one, two = await start_pair(API_KEYS="ali:key-of-ali,omar:key-of-omar")
    ali, omar = {"Authorization": "Bearer key-of-ali"}, {"Authorization": "Bearer key-of-omar"}
    for gateway in (one, two):
        gateway.client.headers.update(ali)
    turn_id, reading = await running_turn(one, STALLED)
    place = {"Last-Event-ID": f"{turn_id}.0"}
    check_problem(await two.client.get(f"/chat/stream/{turn_id}", headers=omar), "not_found")
    check_problem(await two.client.delete(f"/chat/stream/{turn_id}", headers=omar), "not_found")
    check_problem(await two.client.post("/chat/stream", json=STALLED, headers=omar | place), "not_found")
    check_problem(await two.client.get("/conversations/conv-1", headers=omar), "not_found")
    rest = asyncio.create_task(two.events(turn_id=turn_id))
    one.simulator.release()
    assert Told(await rest).last == Told(await reading).last


@pytest.mark.parametrize("abandon_s", ["0", "0.05"])
async def test_a_reader_elsewhere_keeps_a_turn(start_pair: StartPair, abandon_s: str) -> None:
    one, two = await start_pair(ABANDON_S=abandon_s)
    async with one.streaming(STALLED) as first:
        await stalled(one)
        turn_id = first.response.headers["X-Turn-Id"]
        async with two.streaming(turn_id=turn_id) as second:
            events = second.aiter_sse()
            while (await anext(events)).event != "token":
                pass
            await first.response.aclose()
            # Meanwhile the one left has been without readers of its own for longer than it waits.
            await asyncio.sleep(0.2)
            assert not one.simulator.calls[-1].aborted
    await one.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    told = Told(await two.events(turn_id=turn_id))
    assert told.last["status"] == "stopped"


async def test_ids_that_no_process_knows(pair: Pair) -> None:
    told = Told(await pair[0].events(ASKED))
    turn_id = told.last["turn_id"]
    for gateway in pair:
        assert Told(await gateway.events(turn_id=turn_id)).last == told.last
        last = {"Last-Event-ID": told.events[-1].id}
        assert (await gateway.client.get(f"/chat/stream/{turn_id}", headers=last)).status_code == 204
