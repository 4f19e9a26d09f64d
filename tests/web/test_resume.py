"""The phone vanishes and comes back: the rest of the stream, each event once, from wherever it lies by then."""

import json
import time
import uuid

import pytest
from httpx_sse import ServerSentEvent

from gateway.core.ids import new_turn_id
from tests.running import Gateway, Start, Told
from tests.web.shapes import check_problem, check_stream

RICH = {
    "message": "فكّر في «كتاب» واذكر المصادر [[sim: chunks=frames]]",
    "provider": "anthropic",
    "tools": [{"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}],
    "tool_choice": "none",
}
CALLING = RICH | {"message": "فكّر في «كتاب» (اثنين) [[sim: chunks=frames]]", "tool_choice": "auto"}
STALLED = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]"}
FAILING = {"message": "ما معنى «كتاب»؟ [[sim: fault=reset@mid]]"}


def old_turn_id() -> str:
    """The id of a turn that began long ago."""
    fresh = uuid.UUID(new_turn_id()).int
    past = int((time.time() - 86_400) * 1000)
    return str(uuid.UUID(int=fresh & ((1 << 80) - 1) | past << 80))


async def first_half(gateway: Gateway, **headers: str) -> list[ServerSentEvent]:
    """Begin a turn that stalls in the middle, read what has come, and hang up."""
    read: list[ServerSentEvent] = []
    async with gateway.streaming(STALLED, **headers) as source:
        async for event in source.aiter_sse():
            read.append(event)
            if event.event == "token":
                break
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].stalled)
    return read


async def check_every_place(gateway: Gateway, told: Told) -> None:
    """From each event on, a reader gets exactly the rest."""
    turn_id = told.data("start")[0]["turn_id"]
    for place, event in enumerate(told.events[:-1]):
        rest = Told(await gateway.events(turn_id=turn_id, last_event_id=event.id))
        before = Told(told.events[: place + 1])
        assert before.text() + rest.text() == told.text()
        assert before.text("thought") + rest.text("thought") == told.text("thought")
        for name in ("start", "tool_call", "source"):
            assert before.data(name) + rest.data(name) == told.data(name)
        assert rest.events[-1].data == told.events[-1].data
        assert rest.events[-1].id == told.events[-1].id
        assert [event.retry for event in rest.events] == [1000, *[None] * (len(rest.events) - 2), 0][-len(rest.events) :]
    from_start = Told(await gateway.events(turn_id=turn_id))
    check_stream(from_start)
    assert from_start.text() == told.text()
    async with gateway.streaming(turn_id=turn_id, last_event_id=told.events[-1].id) as source:
        assert source.response.status_code == 204


async def test_while_it_runs(gateway: Gateway) -> None:
    first = await first_half(gateway)
    turn_id, last = first[-1].id.rpartition(".")[0], first[-1].id
    async with (
        gateway.streaming(turn_id=turn_id) as whole,
        gateway.streaming(turn_id=turn_id, last_event_id=last) as rest,
        gateway.streaming(STALLED, last_event_id=last) as repeated,
    ):
        gateway.simulator.release()
        read = [Told([event async for event in source.aiter_sse()]) for source in (whole, rest, repeated)]
    check_stream(read[0])
    for told in read[1:]:
        assert "start" not in told.names
        assert Told(first).text() + told.text() == read[0].text() == told.last["content"]
        assert told.events[-1].data == read[0].events[-1].data
    assert len(gateway.simulator.calls) == 1


@pytest.mark.parametrize("body", [RICH, CALLING], ids=["text", "calls"])
async def test_after_the_end_and_after_a_restart(start_gateway: Start, body: dict[str, object]) -> None:
    gateway = await start_gateway()
    told = Told(await gateway.events(body))
    check_stream(told)
    assert {"start", "thought", "token", "done"} <= set(told.names)
    assert told.data("source" if body is RICH else "tool_call")
    await check_every_place(gateway, told)
    await gateway.close()
    gateway = await start_gateway()
    await check_every_place(gateway, told)
    assert len(gateway.simulator.calls) == 1


async def test_a_long_reply_from_any_place(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_OUTPUT_TOKENS="20000")
    told = Told(await gateway.events({"message": "ما معنى «كتاب»؟ [[sim: tokens=20000]]"}))
    check_stream(told)
    assert told.text() == told.last["content"]
    assert told.text().count("سلام") == 19_999
    assert max(len(data["text"]) for data in told.data("token")) <= 16_384
    turn_id, end = told.last["turn_id"], len(told.text())
    for position in (1, 16_384, 16_385, end // 2, end - 1, end):
        rest = Told(await gateway.events(turn_id=turn_id, last_event_id=f"{turn_id}.{position}"))
        assert rest.text() == told.text()[position:]


async def test_a_failed_turn_can_be_read_again(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    told = Told(await gateway.events(FAILING))
    assert told.names[-1] == "failed"
    await check_every_place(gateway, told)
    await gateway.close()
    gateway = await start_gateway(MAX_RETRIES="0")
    await check_every_place(gateway, told)
    assert len(gateway.simulator.calls) == 1


async def test_a_whole_reply_can_be_read_as_a_stream(gateway: Gateway) -> None:
    reply = await gateway.ask(RICH)
    told = Told(await gateway.events(turn_id=reply["turn_id"]))
    check_stream(told)
    assert told.last == reply


async def test_a_turn_goes_on_when_its_client_hangs_up(gateway: Gateway) -> None:
    first = await first_half(gateway)
    gateway.simulator.release()
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].completed)
    told = Told(await gateway.events(turn_id=first[-1].id.rpartition(".")[0]))
    assert told.last["status"] == "completed"
    assert told.text().startswith(Told(first).text())


async def test_a_turn_that_nobody_attends_is_stopped(start_gateway: Start) -> None:
    gateway = await start_gateway(ABANDON_S="0")
    first = await first_half(gateway)
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    told = Told(await gateway.events(turn_id=first[-1].id.rpartition(".")[0]))
    assert (told.last["status"], told.last["finish_reason"]) == ("stopped", None)
    assert told.text() == told.last["content"] != ""


async def test_a_repeated_post_is_never_a_second_question(start_gateway: Start) -> None:
    gateway = await start_gateway()
    told = Told(await gateway.events(RICH))
    other_spacing = json.dumps(dict(reversed(RICH.items())), indent=3)
    for event in told.events[:-1]:
        answer = await gateway.client.post("/chat/stream", content=other_spacing, headers={"Last-Event-ID": event.id})
        assert answer.status_code == 200
        assert answer.headers["X-Turn-Id"] == told.last["turn_id"]
        assert f"data: {told.events[-1].data}" in answer.text
    last = {"Last-Event-ID": told.events[-1].id}
    assert (await gateway.client.post("/chat/stream", json=RICH, headers=last)).status_code == 204
    for body in (RICH | {"message": "سؤالٌ آخر"}, RICH | {"max_tokens": 5}, {"message": "سلام"}):
        check_problem(await gateway.client.post("/chat/stream", json=body, headers=last), "idempotency_mismatch")
    await gateway.close()
    gateway = await start_gateway()
    assert (await gateway.client.post("/chat/stream", json=RICH, headers=last)).status_code == 204
    check_problem(await gateway.client.post("/chat/stream", json=STALLED, headers=last), "idempotency_mismatch")
    assert len(gateway.simulator.calls) == 1


async def test_ids_that_name_nothing_here(gateway: Gateway, subtests: pytest.Subtests) -> None:
    one, two = Told(await gateway.events(RICH)), Told(await gateway.events(CALLING))
    turn_id = one.last["turn_id"]
    young, old = new_turn_id(), old_turn_id()
    for given, code in ((young, "turn_elsewhere"), (old, "not_found"), ("x", "not_found"), (turn_id.upper(), "not_found")):
        with subtests.test(turn_id=given):
            check_problem(await gateway.client.get(f"/chat/stream/{given}"), code)
    for place, code in ((f"{young}.3", "turn_elsewhere"), (f"{old}.3", "not_found")):
        with subtests.test(last_event_id=place):
            answer = await gateway.client.post("/chat/stream", json=RICH, headers={"Last-Event-ID": place})
            check_problem(answer, code)
    for place in (two.events[0].id, "nonsense", f"{turn_id}.", f"{turn_id}.x", turn_id):
        with subtests.test(last_event_id=place):
            answer = await gateway.client.get(f"/chat/stream/{turn_id}", headers={"Last-Event-ID": place})
            check_problem(answer, "invalid_request")
    beyond = Told(await gateway.events(turn_id=turn_id, last_event_id=f"{turn_id}.999999999999"))
    assert beyond.names == ["done"]
    assert len(gateway.simulator.calls) == 2


async def test_a_quiet_stream_is_kept_open(start_gateway: Start) -> None:
    gateway = await start_gateway(HEARTBEAT_S="0.02")
    body = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@before-head]]"}
    async with gateway.client.stream("POST", "/chat/stream", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        head = [await anext(lines) for _ in range(5)]
        assert head[0] == "retry: 1000"
        assert head[2] == "event: start"
        assert [await anext(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
        gateway.simulator.release()
        rest = [line async for line in lines]
    assert "event: done" in rest


async def test_a_late_failure_is_told_in_the_stream(start_gateway: Start) -> None:
    """Once the head is out, an error cannot change it."""
    gateway = await start_gateway(HEARTBEAT_S="0.02", FIRST_TOKEN_TIMEOUT_S="0.2", MAX_RETRIES="0")
    told = Told(await gateway.events({"message": "ما معنى «كتاب»؟ [[sim: fault=stall@before-head]]"}))
    check_stream(told)
    assert told.names == ["start", "failed"]
    assert (told.last["code"], told.last["status"]) == ("provider_timeout", 504)


async def test_headers_of_a_stream(gateway: Gateway) -> None:
    first = Told(await gateway.events(RICH))
    async with gateway.streaming(turn_id=first.last["turn_id"]) as source:
        headers = source.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Turn-Id"] == first.last["turn_id"]
        assert headers["X-Request-Id"]
        await source.response.aread()
