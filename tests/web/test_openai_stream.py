"""/v1/chat/completions over HTTP: streams that break and are gone on with, stopped turns, what the document says of answers."""

import json
from pathlib import Path
from typing import Any

from httpx_sse import ServerSentEvent

from gateway.web import schemas_openai as schemas
from simulator import Simulator
from tests.running import Gateway, Start, run_gateway
from tests.web.shapes import check

ASKED: dict[str, Any] = {
    "model": "anthropic/claude-haiku-5-5",
    "messages": [{"role": "user", "content": "فكّر في «كتاب» واذكر المصادر [[sim: chunks=frames]]"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
STALLED = ASKED | {"messages": [{"role": "user", "content": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]"}]}
PATH = "/v1/chat/completions"


async def events(gateway: Gateway, body: dict[str, Any], **headers: str) -> list[ServerSentEvent]:
    """All events of a stream of chunks."""
    async with gateway.client.stream("POST", PATH, json=body, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        return parsed((await answer.aread()).decode())


def parsed(text: str) -> list[ServerSentEvent]:
    found = []
    for frame in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
        if fields:
            found.append(ServerSentEvent(data=fields["data"], id=fields.get("id", "")))
    return found


def deltas(found: list[ServerSentEvent]) -> list[dict[str, Any]]:
    chunks = [json.loads(event.data) for event in found if event.data != "[DONE]"]
    for chunk in chunks:
        check(schemas.ChatCompletionChunk, chunk)
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def text_of(found: list[ServerSentEvent], name: str = "content") -> str:
    return "".join(delta.get(name, "") for delta in deltas(found))


async def test_from_every_event_on_comes_the_rest(gateway: Gateway) -> None:
    told = await events(gateway, ASKED)
    assert told[-1].data == "[DONE]"
    places = [place for place, event in enumerate(told[:-1]) if event.id]
    assert len(places) > 5
    for place in places:
        rest = await events(gateway, ASKED, **{"Last-Event-ID": told[place].id})
        for name in ("content", "reasoning_content"):
            assert text_of(told[: place + 1], name) + text_of(rest, name) == text_of(told, name)
        assert [event.data for event in rest][-3:] == [event.data for event in told][-3:]
        notes = [delta["annotations"] for delta in deltas(told[: place + 1] + rest) if "annotations" in delta]
        assert notes == [delta["annotations"] for delta in deltas(told) if "annotations" in delta]
    async with gateway.client.stream("POST", PATH, json=ASKED, headers={"Last-Event-ID": told[-1].id}) as answer:
        assert answer.status_code == 204
    other = await gateway.client.post(PATH, json=ASKED | {"temperature": 0.1}, headers={"Last-Event-ID": told[0].id})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert len(gateway.simulator.calls) == 1


async def test_a_stream_that_is_cut_is_gone_on_with(gateway: Gateway) -> None:
    text = ""
    async with gateway.client.stream("POST", PATH, json=STALLED) as answer:
        async for piece in answer.aiter_text():
            text += piece
            if '"content":"' in text.partition('"role"')[2]:
                break
    turn_id = answer.headers["X-Turn-Id"]
    before = parsed(text[: text.rindex("\n\n") + 2])
    assert all(event.id.startswith(turn_id) for event in before)
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].stalled)
    gateway.simulator.release()
    rest = await events(gateway, STALLED, **{"Last-Event-ID": before[-1].id})
    [row] = await gateway.rows("SELECT content, status FROM messages WHERE role = 'assistant'")
    assert (text_of(before) + text_of(rest), row["status"]) == (row["content"], "completed")
    # The same turn in the gateway's own format, and whole.
    native = await gateway.client.get(f"/chat/stream/{turn_id}")
    assert "event: done" in native.text
    whole = await gateway.client.get(f"{PATH}/chatcmpl-{turn_id}")
    check(schemas.ChatCompletion, whole.json())
    assert whole.json()["choices"][0]["message"]["content"] == row["content"]
    assert len(gateway.simulator.calls) == 1


async def test_silence_is_filled_with_comments(start_gateway: Start) -> None:
    gateway = await start_gateway(HEARTBEAT_S="0.02")
    read = ""
    async with gateway.client.stream("POST", PATH, json=STALLED) as answer:
        async for piece in answer.aiter_text():
            read += piece
            if ": ping\n\n" in read.partition('"content":"')[2]:
                gateway.simulator.release()
    assert read.endswith("data: [DONE]\n\n")


async def test_a_turn_that_is_stopped(gateway: Gateway) -> None:
    read = ""
    async with gateway.client.stream("POST", PATH, json=STALLED) as answer:
        turn_id = answer.headers["X-Turn-Id"]
        async for piece in answer.aiter_text():
            if not read:
                await gateway.simulator.until(lambda simulator: simulator.calls[-1].stalled)
                stopped = await gateway.client.delete(f"/chat/stream/{turn_id}")
                assert stopped.status_code == 202
            read += piece
    *chunks, done = parsed(read)
    assert done.data == "[DONE]"
    reasons = [choice["finish_reason"] for chunk in chunks for choice in json.loads(chunk.data)["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    [row] = await gateway.rows("SELECT status FROM messages WHERE role = 'assistant'")
    assert row["status"] == "stopped"


async def test_an_early_failure_has_its_own_status(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    body = ASKED | {"messages": [{"role": "user", "content": "[[sim: status=500]] سؤال"}]}
    answer = await gateway.client.post(PATH, json=body)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "true")
    check(schemas.OpenAIError, answer.json())
    assert answer.headers["X-Turn-Id"]


async def test_the_document_tells_what_is_answered(gateway: Gateway) -> None:
    whole = await gateway.client.post(PATH, json=ASKED | {"stream": False})
    check(schemas.ChatCompletion, whole.json())
    check(schemas.ModelList, (await gateway.client.get("/v1/models")).json())
    check(schemas.Model, (await gateway.client.get("/v1/models/gpt-6-luna")).json())
    missing = await gateway.client.post("/v1/responses", json={})
    check(schemas.OpenAIError, missing.json())
    assert "/v1/chat/completions" in missing.json()["error"]["message"]


async def test_the_log_is_away(simulator: Simulator, tmp_path: Path) -> None:
    """No conversation is found then, and the client is answered all the same."""
    history = [{"role": "user", "content": "س"}, {"role": "assistant", "content": "ج"}, {"role": "user", "content": "وبعد؟"}]
    nowhere = "postgresql://postgres@127.0.0.1:1/nothing"
    gateway = await run_gateway(simulator, nowhere, tmp_path / "data", {"STORE_WAIT_S": "0.05"})
    try:
        answer = await gateway.client.post(PATH, json=ASKED | {"stream": False, "messages": history})
        check(schemas.ChatCompletion, answer.json())
    finally:
        await gateway.close()
