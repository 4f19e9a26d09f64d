"""How a process ends: whoever came is answered, and nobody comes any more."""

import asyncio
import json
import socket
import sys
from urllib.parse import urlsplit

import httpx
import pytest

from tests.running import Gateway, open_client
from tests.web.shapes import check_problem

PATIENCE_S = 60
STALLED = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]"}


def question(number: int) -> bytes:
    body = json.dumps({"message": f"ما معنى «كتاب{number}»؟"}).encode()
    head = f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_who_has_connected_but_was_not_let_in_yet_is_answered(gateway: Gateway) -> None:
    url = urlsplit(gateway.url)
    # The loop does not run meanwhile: they all wait in the kernel's queue.
    waiting = [socket.create_connection((str(url.hostname), int(url.port or 0))) for _ in range(20)]
    for number, client in enumerate(waiting):
        client.sendall(question(number))
        client.setblocking(False)
    retired = asyncio.create_task(gateway.door.retire(PATIENCE_S))
    for client in waiting:
        reader, writer = await asyncio.open_connection(sock=client)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nConnection: close\r\n" in answer.partition(b"\r\n\r\n")[0] + b"\r\n"
        writer.close()
    await retired
    with pytest.raises(httpx.ConnectError):
        await gateway.client.get("/health/live")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere who connects in the last moment may be cut off")
async def test_however_many_come_again_and_again_nobody_who_got_through_is_cut_off(gateway: Gateway) -> None:
    url = urlsplit(gateway.url)
    answers = list[bytes]()

    async def come() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(str(url.hostname), int(url.port or 0))
            except ConnectionRefusedError:
                return
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answers.append(await reader.readline())
            writer.close()

    coming = [asyncio.create_task(come()) for _ in range(40)]
    while len(answers) < 100:  # noqa: ASYNC110 - they come until they are refused
        await asyncio.sleep(0.01)
    await gateway.door.retire(PATIENCE_S)
    await asyncio.gather(*coming)
    assert set(answers) == {b"HTTP/1.1 200 OK\r\n"}


async def test_a_kept_connection_takes_one_more_question(gateway: Gateway) -> None:
    async with open_client(gateway.url) as kept, open_client(gateway.url) as idle:
        assert "Connection" not in (await kept.get("/health/ready")).headers
        await idle.get("/health/ready")
        retired = asyncio.create_task(gateway.door.retire(PATIENCE_S))
        await asyncio.sleep(0)
        assert gateway.door.crowd.leaving
        answer = await kept.post("/chat", json={"message": "سلام"})
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
        check_problem(await idle.get("/health/ready"), "shutting_down")
        for client in (kept, idle):
            with pytest.raises(httpx.ConnectError):
                await client.get("/health/ready")
        await retired


async def test_an_idle_connection_is_closed_after_a_moment_and_a_stream_goes_on_to_its_end(gateway: Gateway) -> None:
    async with open_client(gateway.url) as idle, gateway.streaming(STALLED) as early:
        events = early.aiter_sse()
        await anext(events)
        await idle.get("/health/live")
        assert len(gateway.door.crowd) == 2
        retired = asyncio.create_task(gateway.door.retire(PATIENCE_S))
        while len(gateway.door.crowd) > 1:  # noqa: ASYNC110 - nobody tells of a departure
            await asyncio.sleep(0.02)
        assert not retired.done()
        gateway.simulator.release()
        assert [event.event async for event in events if event.data][-1] == "done"
    await retired
    assert not gateway.door.crowd


async def test_when_a_third_of_the_time_is_over_idle_connections_are_closed_at_once(gateway: Gateway) -> None:
    async with open_client(gateway.url) as idle:
        await idle.get("/health/live")
        async with asyncio.timeout(PATIENCE_S):
            await gateway.door.retire(0.3)
        assert gateway.door.crowd.closing
        while gateway.door.crowd:  # noqa: ASYNC110 - nobody tells of a departure
            await asyncio.sleep(0.02)


async def test_a_stream_that_begins_now_says_that_it_is_the_last(gateway: Gateway) -> None:
    await gateway.client.get("/health/live")
    retired = asyncio.create_task(gateway.door.retire(PATIENCE_S))
    await asyncio.sleep(0)
    async with gateway.streaming({"message": "سلام"}) as source:
        assert source.response.headers["Connection"] == "close"
        assert [event.event async for event in source.aiter_sse() if event.data][-1] == "done"
    await retired
    # It may be told twice.
    await gateway.door.retire(PATIENCE_S)


async def test_a_server_that_ends_alone_begins_nothing_claims_nothing_and_gives_what_it_has(gateway: Gateway) -> None:
    keyed = {"Idempotency-Key": "7f1e"}
    asking = asyncio.create_task(gateway.client.post("/chat", json=STALLED, headers=keyed))
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
    draining = asyncio.create_task(gateway.drain(PATIENCE_S))
    await asyncio.sleep(0)
    joining = asyncio.create_task(gateway.client.post("/chat", json=STALLED, headers=keyed))
    for headers in ({}, {"Idempotency-Key": "new"}):
        check_problem(await gateway.client.post("/chat", json={"message": "سلام"}, headers=headers), "shutting_down")
    gateway.simulator.release()
    answers = [await asking, await joining]
    assert answers[0].json() == answers[1].json()
    await draining
    assert [row["key"] for row in await gateway.rows("SELECT key FROM idempotency_keys")] == ["7f1e"]
