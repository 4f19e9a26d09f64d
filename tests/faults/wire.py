"""Bare connections: bytes as no client would send them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.running import Gateway

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(slots=True)
class Line:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    def close(self) -> None:
        self.writer.transport.abort()


async def connect(gateway: Gateway) -> Line:
    url = httpx.URL(gateway.url)
    assert url.port is not None
    return Line(*await asyncio.open_connection(url.host, url.port))


@asynccontextmanager
async def lines(gateway: Gateway, count: int = 1) -> AsyncIterator[list[Line]]:
    """So many connections, closed at the end."""
    opened = [await connect(gateway) for _ in range(count)]
    try:
        yield opened
    finally:
        for line in opened:
            line.close()


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in what came."""
    return [int(found) for found in _STATUS.findall(answer)]


async def check_healthy(gateway: Gateway, headers: dict[str, str] | None = None) -> None:
    """Everything works as before, and nothing that was refused went any further."""
    before = len(gateway.simulator.calls)
    health = (await gateway.client.get("/health")).json()
    assert (health["status"], health["active_turns"]) == ("healthy", 0)
    answer = await gateway.client.post("/chat", json={"message": "سلام"}, headers=headers or {})
    assert answer.status_code == 200
    assert len(gateway.simulator.calls) == before + 1


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address where nobody should ever call, and what was said there."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"")
        heard[-1] += await reader.read(4096)
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
