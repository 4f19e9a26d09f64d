"""Bad reception: a proxy between a client and a gateway that breaks connections in the middle of replies."""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

import httpx

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a reply, as it came: its first line and its headers."""

    method: str
    path: str
    headers: Message


@dataclass(slots=True)
class Reception:
    """The proxy's address, what was asked through it, and behind how many bytes of an answer each request's connection breaks.

    A request that is none for a reply is let through whole, and so is everything once `cuts` is empty. 0 breaks a connection
    as soon as the request is there, before the gateway hears of it.
    """

    url: str
    cuts: deque[int]
    requests: list[Request] = field(default_factory=list)


@asynccontextmanager
async def reception(gateway_url: str, cuts: Iterable[int]) -> AsyncIterator[Reception]:
    """A proxy in front of a gateway."""
    target = httpx.URL(gateway_url)
    assert target.port is not None
    found = Reception("", deque(cuts))
    lines: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines.add(task)
        try:
            await _Line(found, reader, writer).carry(target.host, target.port or 80)
        finally:
            lines.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for line in list(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


class _Line:
    """One connection of a client, and the one to the gateway that belongs to it."""

    def __init__(self, found: Reception, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._found = found
        self._reader = reader
        self._writer = writer
        self._left: int | None = None

    async def carry(self, host: str, port: int) -> None:
        """Carry bytes both ways until one end is through, or the line breaks."""
        reader, writer = await asyncio.open_connection(host, port)
        both = [asyncio.create_task(self._ask(writer)), asyncio.create_task(self._answer(reader))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, self._writer):
                end.close()

    async def _ask(self, gateway: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                if data.startswith((b"POST /chat", b"GET /chat")):
                    self._note(data)
                    if self._left == 0:
                        self._break()
                        return
                gateway.write(data)

    async def _answer(self, gateway: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await gateway.read(4096):
                if self._left is not None:
                    data = data[: self._left]
                    self._left -= len(data)
                self._writer.write(data)
                await self._writer.drain()
                if self._left == 0:
                    self._break()
                    return

    def _note(self, data: bytes) -> None:
        head, _, _ = data.partition(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        method, path, _ = first.decode().split(" ")
        self._found.requests.append(Request(method, path, BytesParser().parsebytes(rest + b"\r\n\r\n", headersonly=True)))
        self._left = self._found.cuts.popleft() if self._found.cuts else None

    def _break(self) -> None:
        """As a mobile network does it: half of the time without a farewell."""
        if len(self._found.requests) % 2:
            self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
