"""Readers that stall, crawl or vanish without a word: bounded in what they hold, given up in the end, noticed by nobody else."""

import asyncio
import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from gateway.web import reading
from simulator import Script, parse_text
from tests.running import Gateway, Start, Told
from tests.web.shapes import check_stream

ASKED: dict[str, Any] = {"message": "ما معنى «كتاب»؟", "conversation_id": "conv-1"}
LONG = (" " * 20_000 + "سلام") * 150
"""Three megabytes in 150 pieces, as much again in the last event: more than all buffers on the way hold."""


async def connect(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that takes little in at a time."""
    host, port = gateway.client.base_url.host, gateway.client.base_url.port or 80
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (host, port))
    return await asyncio.open_connection(sock=line, limit=1024)


async def ask(gateway: Gateway, path: str = "/chat/stream") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask, and read only the head."""
    reader, writer = await connect(gateway)
    body = json.dumps(ASKED).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    return reader, writer


async def until_connected(gateway: Gateway, connections: int) -> None:
    while len(gateway.door.crowd) != connections:  # noqa: ASYNC110 - nobody tells of a departure
        await asyncio.sleep(0.01)


async def test_one_that_takes_nothing_is_given_up(start_gateway: Start) -> None:
    gateway = await start_gateway(HEARTBEAT_S="0.05", MAX_REPLY_BYTES="10000000")
    gateway.simulator.script(Script(reply=LONG, chunks=parse_text("chunks=whole").chunks))
    stuck = await ask(gateway)
    turn_id = gateway.simulator.calls and (await gateway.client.get("/conversations/conv-1")).json()["active_turns"]
    told = Told(await gateway.events(turn_id=turn_id[0])) if turn_id else None
    await until_connected(gateway, 1)  # the one that other requests share
    with suppress(ConnectionError):
        while await stuck[0].read(1 << 20):
            pass
    stuck[1].close()
    [row] = await gateway.rows("SELECT turn_id::text, content, status FROM messages WHERE role = 'assistant'")
    assert row["status"] == "completed"
    assert row["content"] == LONG, "compared whole, shown never"
    told = told or Told(await gateway.events(turn_id=row["turn_id"]))
    check_stream(told)
    assert told.last["content"] == told.text() == LONG, "compared whole, shown never"


async def test_one_that_crawls_is_not() -> None:
    """As long as anything is taken there is time, be it from the kernel's buffer or from ours."""
    ours, kept = socket.socketpair()
    with ours, kept:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 4096)
        line = Line(ours)
        patience = reading._Patience(cast("asyncio.Transport", line))
        for beats in range(1, 10 * reading.STUCK_BEATS):
            kept.recv(4096)
            patience.blocked(beats)
        assert not line.aborted
        for more in range(1, reading.STUCK_BEATS + 1):
            assert not line.aborted
            patience.blocked(beats + more)
        assert line.aborted


@dataclass(slots=True)
class Line:
    """A transport with nothing in its own buffer."""

    line: socket.socket
    aborted: bool = False

    def get_extra_info(self, _: str) -> socket.socket:
        return self.line

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


async def test_a_vanished_client_is_noticed_by_the_kernel(gateway: Gateway) -> None:
    """What connections take over from the listener: one that acknowledges nothing is closed, buffers are bounded."""
    _, writer = await ask(gateway)
    [connection] = gateway.door.crowd._inside
    assert connection.transport is not None
    line = connection.transport.get_extra_info("socket")
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 1 << 20
    for name in ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT"):
        if hasattr(socket, name):
            assert 0 < line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) <= 60_000
    writer.close()


async def test_a_reply_that_grows_beyond_all_bounds(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_REPLY_BYTES="200000")
    gateway.simulator.script(Script(reply=LONG, chunks=parse_text("chunks=frames").chunks))
    told = Told(await gateway.events(ASKED))
    turn_id = told.last["turn_id"]
    assert (told.names[-1], told.last["code"], told.last["retryable"]) == ("failed", "provider_error", False), told.last
    [row] = await gateway.rows("SELECT content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'", turn_id)
    assert row["status"] == "failed"
    assert row["content"] == told.text(), "compared whole, shown never"
    assert 200_000 < len(row["content"]) < 1_000_000
    again = Told(await gateway.events(turn_id=turn_id))
    assert again.last == told.last
    assert again.text() == told.text(), "compared whole, shown never"


async def test_the_head_waits_one_heartbeat_at_most(start_gateway: Start) -> None:
    """Then come the start, and signs of life before and between words."""
    gateway = await start_gateway(HEARTBEAT_S="0.02")
    asked = {"message": "سلام [[sim: fault=stall@before-head]]"}
    async with gateway.client.stream("POST", "/chat/stream", json=asked) as answer:
        blocks = _blocks(answer.aiter_text())
        first = await anext(blocks)
        assert first.startswith("retry: 1000\nid: ")
        assert "\nevent: start\n" in first
        assert [await anext(blocks) for _ in range(3)] == [": ping"] * 3
        gateway.simulator.script(parse_text("fault=stall@mid"))
        gateway.simulator.release()
        rest = [block async for block in blocks]
    assert rest[-1].startswith("retry: 0\nid: ")
    assert all("retry" not in block for block in rest[:-1])

    async with gateway.client.stream("POST", "/chat/stream", json=ASKED) as answer:
        blocks = _blocks(answer.aiter_text())
        while "event: token" not in await anext(blocks):
            pass
        while await anext(blocks) != ": ping":
            pass
        gateway.simulator.release()
        rest = [block async for block in blocks]
    assert "event: done" in rest[-1]


async def _blocks(pieces: Any) -> Any:
    text = ""
    async for piece in pieces:
        *blocks, text = (text + piece).split("\n\n")
        for block in blocks:
            yield block
    assert text == ""
