"""TLS by way of a proxy, as companies' networks want it: the tunnel is kept, and the provider's certificate is checked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.core.errors import UpstreamError
from gateway.engine.upstream import Upstream, open_session
from gateway.providers.base import UpstreamRequest
from tests.engine.certificates import trusted_server
from tests.engine.turns import soon
from tests.engine.wires import PATIENT, PROVIDER, text_of

REPLY = '{"choices":[{"index":0,"message":{"content":"مُعْجَم"},"finish_reason":"stop"}]}'.encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY


async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(2)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxy(refusal: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """The port of a proxy, and the heads of what it was asked."""
    heads: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if refusal:
            writer.write(refusal)
            writer.close()
            return
        host, _, port = heads[-1].split(b" ")[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heads


async def test_a_tunnel_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await asyncio.start_server(provider, "127.0.0.1", 0, ssl=trusted_server(tmp_path, monkeypatch))
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, proxy() as (port, heads):
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{port}")
        async with open_session(PATIENT) as session:
            upstream = Upstream(session, PATIENT, 1000)
            for _ in range(3):
                assert text_of(await soon(upstream.whole(PROVIDER, UpstreamRequest(url, {}, b"{}")))) == "مُعْجَم"
    (head,) = heads
    assert head.startswith(b"CONNECT 127.0.0.1:")
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in head


async def test_what_the_proxy_refuses_and_whom_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        stranger = trusted_server(tmp_path, patched)
    server = await asyncio.start_server(provider, "127.0.0.1", 0, ssl=stranger)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    for refusal in (b"", b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"):
        async with proxy(refusal) as (port, _), open_session(PATIENT) as session:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            with pytest.raises(UpstreamError) as refused:
                await soon(Upstream(session, PATIENT, 1000).whole(PROVIDER, UpstreamRequest(url, {}, b"{}")))
            assert (refused.value.code, refused.value.kind) == ("provider_error", "broken" if refusal else "connect")
    server.close()
