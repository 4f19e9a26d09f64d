"""Clients that dawdle, and many who only take up room: their time and their number are bounded, and others are served."""

import asyncio

import pytest

from gateway.web import edge
from simulator import parse_text
from tests.faults.wire import Line, check_healthy, connect, lines, statuses
from tests.running import Gateway, Start
from tests.web.callers import API_KEY, bearer, closed

ALIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOOD = b'{"message": "\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85"}'


def post(length: int) -> bytes:
    return b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length


async def served(line: Line) -> None:
    """Ask on an open connection, and stay."""
    await line.say(ALIVE)
    assert statuses(await line.head()) == [200]
    await line.reader.readexactly(len(b'{"status":"alive"}'))


async def check_alive(gateway: Gateway) -> None:
    assert (await gateway.client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"G", b"POST /chat HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_head_that_is_never_finished(gateway: Gateway, sent: bytes) -> None:
    await check_healthy(gateway)  # from now on its client has a connection
    gateway.door._head_s = 0.3
    async with lines(gateway, 50) as opened:
        for line in opened:
            await line.say(sent)
        await check_healthy(gateway)
        assert {await line.rest() for line in opened} == {b""}
    await check_healthy(gateway)


async def test_a_body_that_is_never_finished(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_TIMEOUT_S", 0.3)
    async with lines(gateway, 20) as opened:
        for line in opened:
            await line.say(post(1000) + GOOD)
        await check_alive(gateway)
        for line in opened:
            assert statuses(await line.head()) == [400]
            assert b"did not arrive in time" in await line.reader.readuntil(b"}")
    monkeypatch.undo()
    await check_healthy(gateway)


async def test_a_body_that_keeps_coming_has_the_time_it_takes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came buys time: at this rate every byte buys a minute."""
    monkeypatch.setattr(edge, "BODY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(edge, "BODY_BYTES_PER_S", 1 / 60)
    async with lines(gateway) as [line]:
        await line.say(post(len(GOOD)) + GOOD[:5])
        await check_alive(gateway)
        for byte in GOOD[5:]:
            await line.say(bytes([byte]))
        assert statuses(await line.head()) == [200]


async def test_strangers_are_refused_before_their_body_comes(start_gateway: Start) -> None:
    gateway = (await closed(start_gateway)).gateway
    async with lines(gateway, 20) as opened:
        for line in opened:
            await line.say(post(10_000_000))
            assert statuses(await line.head()) == [401]
    await check_healthy(gateway, bearer(API_KEY))


async def test_a_reader_that_never_reads(gateway: Gateway) -> None:
    """Its turn ends and is logged all the same."""
    body = '{"message": "[[sim: tokens=20000 gap_ms=0]] سلام"}'.encode()
    async with lines(gateway) as [line]:
        await line.say(post(len(body)).replace(b"/chat", b"/chat/stream") + body)
        await gateway.simulator.until(lambda simulator: simulator.count("completed") == 1)
        async with asyncio.timeout(20):
            while not await gateway.rows("SELECT 1 FROM messages WHERE role = 'assistant' AND status = 'completed'"):
                pass
        await check_healthy(gateway)


async def test_idle_connections_make_room(gateway: Gateway) -> None:
    gateway.door.crowd._most = 40
    async with lines(gateway, 30) as idle:
        for line in idle:
            await served(line)
        # Half a head is no less idle than none.
        await idle[1].say(b"GET /health/live HTT")
        more: list[Line] = []
        for _ in range(60):
            more.append(await connect(gateway))
            await served(more[-1])
            assert len(gateway.door.crowd) <= 40
        assert {await line.rest() for line in (*idle[:2], more[0])} == {b""}
        await served(more[-1])
        await check_healthy(gateway)
        for line in more:
            line.close()


async def test_busy_connections_are_spared(gateway: Gateway) -> None:
    gateway.simulator.script(parse_text("fault=stall@mid gap_ms=0"), calls=5)
    asked = [asyncio.create_task(gateway.client.post("/chat/stream", json={"message": "سلام"})) for _ in range(5)]
    await gateway.simulator.until(lambda simulator: simulator.stalled == 5)
    gateway.door.crowd._most = 5
    async with lines(gateway, 3) as late:
        assert {await line.rest() for line in late} == {b""}
    gateway.simulator.release()
    assert {(await task).status_code for task in asked} == {200}
    await check_healthy(gateway)


async def test_a_flood_of_connections_that_come_and_go(gateway: Gateway) -> None:
    for _ in range(5):
        async with lines(gateway, 200) as opened:
            for line in opened[::2]:
                line.writer.write(ALIVE)
    await check_healthy(gateway)
    async with asyncio.timeout(20):
        while len(gateway.door.crowd) > 10:
            await check_healthy(gateway)
