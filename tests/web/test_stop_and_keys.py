"""Stopping a turn, and Idempotency-Keys: one turn a key, whatever happens in between."""

import asyncio
from typing import Any

import pytest

from gateway.web import schemas
from simulator import Script
from tests.running import Gateway, Start, Told
from tests.web.shapes import check, check_problem, check_stream

BODY: dict[str, Any] = {"message": "ما معنى «كتاب»؟"}
STALLED: dict[str, Any] = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]", "conversation_id": "conv-1"}
SILENT: dict[str, Any] = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@before-head]]"}


async def stalled(gateway: Gateway) -> None:
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)


async def test_stopping_a_stream_keeps_what_has_come(gateway: Gateway) -> None:
    async with gateway.streaming(STALLED) as source:
        events = source.aiter_sse()
        read = [await anext(events), await anext(events)]
        turn_id = source.response.headers["X-Turn-Id"]
        answer = await gateway.client.delete(f"/chat/stream/{turn_id}")
        assert (answer.status_code, answer.json()) == (202, {"turn_id": turn_id, "status": "stopping"})
        check(schemas.Stopping, answer.json())
        told = Told(read + [event async for event in events])
    check_stream(told)
    assert (told.last["status"], told.last["finish_reason"], told.last["logged"]) == ("stopped", None, "stored")
    assert told.text() == told.last["content"] != ""
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    [row] = await gateway.rows("SELECT content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'", turn_id)
    assert (row["content"], row["status"]) == (told.text(), "stopped")
    assert check_problem(await gateway.client.delete(f"/chat/stream/{turn_id}"), "turn_ended")["turn_id"] == turn_id

    await gateway.ask({"message": "وما جمعُهُ؟", "conversation_id": "conv-1"})
    assert [entry["content"] for entry in gateway.simulator.calls[-1].body["messages"]] == [
        STALLED["message"],
        told.text(),
        "وما جمعُهُ؟",
    ]


async def test_stopping_a_whole_reply(gateway: Gateway) -> None:
    asked = asyncio.create_task(gateway.client.post("/chat", json=SILENT | {"conversation_id": "conv-1"}))
    await stalled(gateway)
    [turn_id] = (await gateway.client.get("/conversations/conv-1")).json()["active_turns"]
    assert (await gateway.client.delete(f"/chat/stream/{turn_id}")).status_code == 202
    answer = await asked
    assert answer.status_code == 200
    check(schemas.ChatReply, answer.json())
    assert (answer.json()["status"], answer.json()["finish_reason"], answer.json()["content"]) == ("stopped", None, "")
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].aborted)


async def test_stopping_by_key_before_anything_came(gateway: Gateway) -> None:
    asked = asyncio.create_task(gateway.events(SILENT, idempotency_key="k-1"))
    await stalled(gateway)
    answer = await gateway.client.delete("/chat/stream", headers={"Idempotency-Key": "k-1"})
    assert answer.status_code == 202
    told = Told(await asked)
    assert told.names == ["start", "done"]
    assert (told.last["status"], told.last["turn_id"]) == ("stopped", answer.json()["turn_id"])
    check_problem(await gateway.client.delete("/chat/stream", headers={"Idempotency-Key": "k-1"}), "turn_ended")
    check_problem(await gateway.client.delete("/chat/stream", headers={"Idempotency-Key": "k-2"}), "not_found")
    check_problem(await gateway.client.delete("/chat/stream"), "invalid_request")


async def test_what_cannot_be_stopped(gateway: Gateway) -> None:
    reply = await gateway.ask(BODY)
    check_problem(await gateway.client.delete(f"/chat/stream/{reply['turn_id']}"), "turn_ended")
    check_problem(await gateway.client.delete("/chat/stream/nonsense"), "not_found")


async def test_a_key_joins_and_replays(start_gateway: Start) -> None:
    gateway = await start_gateway()
    key = {"idempotency_key": "k-1"}
    streams = [asyncio.create_task(gateway.events(STALLED, **key)) for _ in range(3)]
    await stalled(gateway)
    wholes = [asyncio.create_task(gateway.ask(STALLED, **key)) for _ in range(2)]
    gateway.simulator.release()
    told = [Told(await stream) for stream in streams]
    done = told[0].last
    for one in told:
        check_stream(one)
        assert one.last == done
    assert [await whole for whole in wholes] == [done, done]
    assert Told(await gateway.events(STALLED, **key)).last == done
    await gateway.close()
    gateway = await start_gateway()
    assert await gateway.ask(STALLED, **key) == done
    assert Told(await gateway.events(STALLED, **key)).text() == done["content"]
    assert len(gateway.simulator.calls) == 1
    [count] = await gateway.rows("SELECT count(*) AS turns FROM messages WHERE role = 'assistant'")
    assert count["turns"] == 1


async def test_another_body_under_the_same_key(start_gateway: Start) -> None:
    gateway = await start_gateway()
    headers = {"Idempotency-Key": "k-1"}
    await gateway.ask(BODY, idempotency_key="k-1")
    for other in (STALLED, BODY | {"provider": "groq"}, BODY | {"unknown": 1}):
        for path in ("/chat", "/chat/stream"):
            check_problem(await gateway.client.post(path, json=other, headers=headers), "idempotency_mismatch")
    await gateway.close()
    gateway = await start_gateway()
    check_problem(await gateway.client.post("/chat", json=STALLED, headers=headers), "idempotency_mismatch")
    assert len(gateway.simulator.calls) == 1


async def test_a_last_event_id_with_another_turns_key(gateway: Gateway) -> None:
    one = Told(await gateway.events(BODY, idempotency_key="k-1"))
    await gateway.ask(STALLED | {"message": "سؤالٌ آخر"}, idempotency_key="k-2")
    place = {"Last-Event-ID": one.events[0].id}
    wrong = await gateway.client.post("/chat/stream", json=BODY, headers=place | {"Idempotency-Key": "k-2"})
    check_problem(wrong, "idempotency_mismatch")
    assert Told(await gateway.events(BODY, idempotency_key="k-1", last_event_id=one.events[0].id)).last == one.last
    assert len(gateway.simulator.calls) == 2


@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
async def test_failures_and_keys(start_gateway: Start, path: str) -> None:
    """A failure that may pass frees the key; one that would come again is replayed."""
    gateway = await start_gateway(MAX_RETRIES="0")
    headers = {"Idempotency-Key": "k-1"}
    gateway.simulator.script(Script(status=500))
    failed = check_problem(await gateway.client.post(path, json=BODY, headers=headers), "provider_error")
    good = await gateway.client.post(path, json=BODY, headers=headers)
    assert good.status_code == 200
    assert good.headers["X-Turn-Id"] != failed["turn_id"]

    headers = {"Idempotency-Key": "k-2"}
    gateway.simulator.script(Script(status=400))
    refused = check_problem(await gateway.client.post(path, json=BODY, headers=headers), "provider_rejected")
    calls = len(gateway.simulator.calls)
    again = check_problem(await gateway.client.post(path, json=BODY, headers=headers), "provider_rejected")
    assert again["turn_id"] == refused["turn_id"]
    await gateway.close()
    gateway = await start_gateway(MAX_RETRIES="0")
    check_problem(await gateway.client.post(path, json=BODY, headers=headers), "provider_rejected")
    assert len(gateway.simulator.calls) == calls


async def test_a_request_that_was_never_accepted_binds_no_key(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_ACTIVE_TURNS="1")
    headers = {"Idempotency-Key": "k-1"}
    check_problem(await gateway.client.post("/chat", json=BODY | {"provider": "x"}, headers=headers), "unknown_provider")
    check_problem(await gateway.client.post("/chat", content=b"{", headers=headers), "invalid_json")
    async with gateway.streaming(STALLED):
        await stalled(gateway)
        check_problem(await gateway.client.post("/chat", json=BODY, headers=headers), "overloaded")
        gateway.simulator.release()
    await gateway.close()
    gateway = await start_gateway()
    await gateway.ask(BODY, idempotency_key="k-1")
