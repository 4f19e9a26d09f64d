"""Who speaks out of turn, who stops listening, who hangs up: by plain sockets and by TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.connector import Connection

from gateway.core.errors import UpstreamError
from gateway.engine.connector import Connector
from gateway.engine.upstream import Upstream, open_session
from gateway.providers.base import UpstreamRequest
from tests.engine.certificates import trusted_server
from tests.engine.turns import soon
from tests.engine.wires import PATIENT, PROVIDER, text_of

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
HUGE = b"x" * 30_000_000

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    return trusted_server(tmp_path, monkeypatch) if request.param == "tls" else None


class Caller:
    """Calls one server."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self._upstream = upstream
        self._url = url
        self.connections = 0

    async def ask(self, body: bytes = b"{}") -> str:
        return text_of(await soon(self._upstream.whole(PROVIDER, UpstreamRequest(self._url, {}, body))))

    async def refused(self, body: bytes = b"{}") -> UpstreamError:
        with pytest.raises(UpstreamError) as refused:
            await self.ask(body)
        return refused.value


@asynccontextmanager
async def calling(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Caller]:
    """A caller of a server that does as `serve` says with each connection, and closes it then."""
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller.connections += 1
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session(PATIENT) as session:
        caller = Caller(Upstream(session, PATIENT, 1000), url)
        yield caller
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def until_gone(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes the connection."""
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass


@pytest.mark.parametrize("words", [BUSY, BUSY[:40]], ids=["whole", "begun"])
async def test_a_server_that_speaks_first_is_heard(
    words: bytes, tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy one may refuse whoever connects: its words may be here before ours are sent."""
    connect = Connector.connect

    async def connect_and_listen(*arguments: Any) -> Connection:
        connection = await connect(*arguments)
        assert connection.protocol is not None
        while not connection.protocol.should_close:  # noqa: ASYNC110 - the connection tells nobody
            await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(Connector, "connect", connect_and_listen)
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        asked.put_nowait(await reader.read(1))
        writer.write(BUSY[len(words) :])
        await until_gone(reader)

    async with calling(busy, tls) as caller:
        for _ in range(2):
            assert (await caller.refused()).upstream_status == 503
            assert await soon(asked.get()) == (b"" if words == BUSY else b"P"), "who is refused already asks nothing"
        assert caller.connections == 2


async def test_a_server_that_hangs_up_while_it_is_sent_a_request(tls: ssl.SSLContext | None) -> None:
    """It says that nothing will come, and reads no more: the rest of the request would wait for ever."""
    done = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if tls:
            writer.close()
        else:
            writer.write_eof()
        await done.wait()

    async with calling(deaf, tls) as caller:
        assert (await caller.refused(HUGE)).kind == "broken"
        done.set()


async def test_a_connection_on_which_a_request_was_refused_half_way_is_not_used_again(tls: ssl.SSLContext | None) -> None:
    """What was not sent of it would stand before the next request."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BUSY)
        await until_gone(reader)

    async with calling(refuse, tls) as caller:
        for _ in range(2):
            assert (await caller.refused(HUGE)).upstream_status == 503
        assert caller.connections == 2
