"""A provider's end of the wire, byte by byte: a server whose every write is written down in the test."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

import orjson

from gateway.core.events import Event, TextDelta
from gateway.engine.upstream import Timeouts, Upstream, open_session
from gateway.providers.base import UpstreamRequest
from gateway.providers.registry import PROVIDERS

PROVIDER = PROVIDERS["openai"]
PATIENT = Timeouts(connect_s=10, first_token_s=10, idle_s=10)
MAX_REPLY_BYTES = 100_000
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Connection:
    """One accepted connection. `gone` is set when the client has closed it; `requests` counts what came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.requests = 0
        self.body = b""
        self.head = b""
        self.gone = asyncio.Event()

    async def request(self) -> bool:
        """Read one whole request; False when the client has closed the connection instead."""
        try:
            self.head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
            return False
        length = next(int(line[15:]) for line in self.head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        self.body = await self._reader.readexactly(length)
        self.requests += 1
        return True

    async def send(self, *data: bytes) -> None:
        """Write bytes as they stand."""
        for piece in data:
            self._writer.write(piece)
            await self._writer.drain()

    async def chunks(self, *data: bytes) -> None:
        """Write each piece as one chunk of a chunked body."""
        for piece in data:
            await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def until_gone(self) -> None:
        """Wait until the client closes."""
        try:
            while await self._reader.read(65_536):
                pass
        except ConnectionError:
            pass
        self.gone.set()

    def reset(self) -> None:
        """Close with a RST (closing with a linger time of zero)."""
        held = self._writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """Close with a FIN."""
        self._writer.close()


Script = Callable[[Connection], Awaitable[None]]


class Wire:
    """A server that answers each request by `script`, and an `Upstream` that calls it."""

    def __init__(self, upstream: Upstream, connections: list[Connection], url: str) -> None:
        self.upstream = upstream
        self.connections = connections
        self.url = url

    def request(self, body: bytes = b"{}") -> UpstreamRequest:
        return UpstreamRequest(self.url, {"Content-Type": "application/json"}, body)

    async def stream(self, body: bytes = b"{}") -> list[Event]:
        """All events of a streamed call."""
        async with self.batches(body) as batches:
            return [event async for batch in batches for event in batch]

    @asynccontextmanager
    async def batches(self, body: bytes = b"{}") -> AsyncIterator[AsyncGenerator[list[Event], None]]:
        """A streamed call, batch by batch; leaving the block gives it up."""
        taken: asyncio.Queue[list[Event]] = asyncio.Queue()

        def take(batch: list[Event]) -> bool:
            taken.put_nowait(batch)
            return False

        call = asyncio.create_task(self.upstream.stream(PROVIDER, self.request(body), take))

        async def come() -> AsyncGenerator[list[Event], None]:
            while not (call.done() and taken.empty()):
                waiting = asyncio.ensure_future(taken.get())
                await asyncio.wait((call, waiting), return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
                else:
                    waiting.cancel()
            call.result()

        try:
            async with aclosing(come()) as batches:
                yield batches
        finally:
            call.cancel()
            await asyncio.wait((call,))
            if not call.cancelled():
                call.exception()

    async def idle(self) -> None:
        """Wait until every connection is back in the pool, or closed."""
        while self.upstream._connector._acquired:  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.001)

    async def whole(self, body: bytes = b"{}") -> list[Event]:
        """All events of a whole reply."""
        return await self.upstream.whole(PROVIDER, self.request(body))


@asynccontextmanager
async def wired(script: Script, timeouts: Timeouts = PATIENT, max_reply_bytes: int = MAX_REPLY_BYTES) -> AsyncIterator[Wire]:
    """A wire to a server whose connections all go by `script`, which is called once a request."""
    connections: list[Connection] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        connections.append(connection)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while await connection.request():
                await script(connection)
        except ConnectionError:
            connection.gone.set()
        finally:
            connection.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    session = open_session(timeouts)
    try:
        yield Wire(Upstream(session, timeouts, max_reply_bytes), connections, f"http://127.0.0.1:{port}/v1/chat/completions")
    finally:
        await session.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def frame(delta: Mapping[str, object], finish: str | None = None) -> bytes:
    """One frame of OpenAI's stream."""
    chunk = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


HEAD = frame({"role": "assistant", "content": ""})
TOKEN = frame({"content": "مرحبا"})
END = frame({}, "stop") + b"data: [DONE]\n\n"


def text_of(events: list[Event]) -> str:
    """The text of a reply."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))
