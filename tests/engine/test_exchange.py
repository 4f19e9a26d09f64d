"""Answers in every way that HTTP/1.1 allows, and some that it does not."""

import asyncio
import gzip
import zlib

import orjson
import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Finished
from gateway.engine.upstream import Timeouts, Upstream, open_session
from gateway.providers.base import UpstreamRequest
from tests.engine.turns import soon
from tests.engine.wires import END, HEAD, LAST, PATIENT, PROVIDER, SSE, TOKEN, Connection, text_of, wired

REPLY = orjson.dumps({"choices": [{"index": 0, "message": {"content": "مُعْجَم"}, "finish_reason": "stop"}]})


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{lines}\r\n".encode() + body


@pytest.mark.parametrize(
    ("packed", "name"), [(gzip.compress(REPLY), "gzip"), (zlib.compress(REPLY), "deflate")], ids=["gzip", "deflate"]
)
async def test_a_packed_body_that_nobody_asked_for(packed: bytes, name: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(packed, f"Content-Encoding: {name}"))

    async with wired(script) as wire:
        for _ in range(2):
            assert text_of(await soon(wire.whole())) == "مُعْجَم"
        assert [connection.requests for connection in wire.connections] == [2]


async def test_a_packed_stream() -> None:
    async def script(connection: Connection) -> None:
        packer = zlib.compressobj(wbits=31)
        await connection.send(SSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"))
        for piece in (HEAD, TOKEN, TOKEN + END):
            await connection.chunks(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH))
        await connection.chunks(packer.flush())
        await connection.send(LAST)

    async with wired(script) as wire:
        events = await soon(wire.stream())
        assert (text_of(events), events[-1]) == ("مرحبامرحبا", Finished("stop"))


async def test_a_body_packed_piece_by_piece() -> None:
    """Each a whole of its own (RFC 1952, section 2.2), cut anywhere."""
    packed = gzip.compress(REPLY[:20]) + gzip.compress(REPLY[20:])

    async def script(connection: Connection) -> None:
        await connection.send(SSE.replace(b"text/event-stream", b"application/json\r\nContent-Encoding: gzip"))
        await connection.chunks(*(packed[place : place + 7] for place in range(0, len(packed), 7)))
        await connection.send(LAST)

    async with wired(script) as wire:
        assert text_of(await soon(wire.whole())) == "مُعْجَم"


async def test_a_small_body_that_unpacks_to_a_huge_one_is_cut_off() -> None:
    bomb = gzip.compress(b" " * 50_000_000)

    async def script(connection: Connection) -> None:
        await connection.send(answer(bomb, "Content-Encoding: gzip"))

    async with wired(script, max_reply_bytes=10_000) as wire:
        with pytest.raises(UpstreamError, match="more than the gateway can hold"):
            await soon(wire.whole())


@pytest.mark.parametrize(("name", "body"), [("br", REPLY), ("gzip", REPLY), ("gzip", gzip.compress(REPLY) + b"x" * 100)])
async def test_a_packing_that_is_none(name: str, body: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(body, f"Content-Encoding: {name}"))

    async with wired(script) as wire:
        with pytest.raises(UpstreamError) as refused:
            await soon(wire.whole())
        assert refused.value.kind == "broken"


async def test_interim_answers_come_before_the_real_one() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + answer(REPLY))

    async with wired(script) as wire:
        for _ in range(2):
            assert text_of(await soon(wire.whole())) == "مُعْجَم"
        assert [connection.requests for connection in wire.connections] == [2]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_that_ends_with_its_connection(version: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(f"HTTP/{version} 200 OK\r\nContent-Type: application/json\r\n\r\n".encode(), REPLY)
        connection.close()

    async with wired(script) as wire:
        for _ in range(2):
            assert text_of(await soon(wire.whole())) == "مُعْجَم"
        assert len(wire.connections) == 2


@pytest.mark.parametrize(
    "answered",
    [
        answer(REPLY).replace(b"Content-Length:", b"Content-Length :"),
        answer(REPLY).replace(b"\r\n", b"\n"),
        answer(REPLY, "X-Long: one\r\n two"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x \r\n%b\r\n0\r\n\r\n" % (len(REPLY), REPLY),
    ],
    ids=["space before the colon", "bare line feeds", "folded header", "space behind a chunk's size"],
)
async def test_what_servers_get_wrong_and_harms_nobody(answered: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answered)

    async with wired(script) as wire:
        for _ in range(2):
            assert text_of(await soon(wire.whole())) == "مُعْجَم"
        assert [connection.requests for connection in wire.connections] == [2]


@pytest.mark.parametrize("length", ["Content-Length: 999", "Content-Length : 999", "Transfer-Encoding : chunked"])
async def test_a_body_that_ends_before_its_end(length: str) -> None:
    """What has come of it is a reply by itself, and is not believed."""
    body = REPLY if "999" in length else b"%x\r\n%b\r\n" % (len(REPLY), REPLY)

    async def script(connection: Connection) -> None:
        await connection.send(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode() + body)
        connection.close()

    async with wired(script) as wire:
        with pytest.raises(UpstreamError) as broken:
            await soon(wire.whole())
        assert broken.value.kind == "broken"


async def test_a_connection_that_the_server_means_to_close_is_not_used_again() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY, "Connection: close"))

    async with wired(script) as wire:
        for _ in range(2):
            await soon(wire.whole())
        await soon(wire.connections[0].gone.wait())
        assert len(wire.connections) == 2


@pytest.mark.parametrize("more", [answer(b"{}"), b"HTTP/1.1 2", b"?"], ids=["whole", "begun", "garbage"])
async def test_an_answer_that_nobody_asked_for_spoils_the_connection_and_nothing_else(more: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY) + more)

    async with wired(script) as wire:
        for _ in range(2):
            assert text_of(await soon(wire.whole())) == "مُعْجَم"
        assert [connection.requests for connection in wire.connections] == [1, 1]


async def test_a_second_answer_changes_nothing_in_the_head_of_the_first() -> None:
    body = HEAD + TOKEN + END

    async def script(connection: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
        await connection.send(head + body + answer(b"{}"))

    async with wired(script) as wire:
        events = await soon(wire.stream())
        assert (text_of(events), events[-1]) == ("مرحبا", Finished("stop"))


@pytest.mark.parametrize("endless", [b"x-%d: y\r\n", b"%d", b"1;x=%d"], ids=["trailers", "trailer", "chunk extension"])
async def test_what_comes_without_end_and_is_no_body_is_cut_off(endless: bytes) -> None:
    async def script(connection: Connection) -> None:
        start = b"" if endless.startswith(b"1") else b"0\r\nx-long: " if endless == b"%d" else b"0\r\n"
        await connection.send(answer(b"")[:-2].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"\r\n" + start)
        for number in range(100_000):
            await connection.send(endless % number * 100)

    async with wired(script) as wire:
        with pytest.raises(UpstreamError) as refused:
            await soon(wire.whole())
        assert refused.value.kind == "broken"


@pytest.mark.parametrize("status", ["000", "099"])
async def test_a_status_that_is_none(status: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY, status=f"{status} ?"))

    async with wired(script) as wire:
        with pytest.raises(UpstreamError) as refused:
            await soon(wire.whole())
        assert refused.value.kind == "broken"


async def test_a_connection_on_which_the_request_was_not_taken_to_its_end_is_not_used_again() -> None:
    """The server answers early and keeps the connection open: what it has not read would stand before the next request."""

    connections, gone = 0, asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b'{"error":{"message":"too large"}}', status="413 Too Large"))
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session(PATIENT) as session:
        for _ in range(2):
            with pytest.raises(UpstreamError) as refused:
                await soon(Upstream(session, PATIENT, 1000).whole(PROVIDER, UpstreamRequest(url, {}, b"x" * 30_000_000)))
            assert refused.value.upstream_status == 413
        assert connections == 2
        gone.set()


async def test_a_server_that_changes_the_protocol_is_broken() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        connection.close()

    async with wired(script) as wire:
        with pytest.raises(UpstreamError) as refused:
            await soon(wire.whole())
        assert refused.value.kind == "broken"


async def test_a_refusal_may_come_before_the_request_is_read() -> None:
    """A body too large for the provider: it answers and closes while we are still writing."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b'{"error":{"message":"too large"}}', "Connection: close", status="413 Too Large"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session(PATIENT) as session:
        with pytest.raises(UpstreamError) as refused:
            await soon(Upstream(session, PATIENT, 1000).whole(PROVIDER, UpstreamRequest(url, {}, b"x" * 8_000_000)))
        assert (refused.value.upstream_status, refused.value.code) == (413, "provider_rejected")


async def test_a_header_cannot_become_two() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY))

    async with wired(script) as wire:
        request = UpstreamRequest(wire.url, {"Authorization": "Bearer x\r\nX-Evil: 1"}, b"{}")
        with pytest.raises(ValueError, match="line break"):
            await soon(wire.upstream.whole(PROVIDER, request))
        assert text_of(await soon(wire.whole())) == "مُعْجَم"


async def test_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY))

    async with wired(script) as wire:
        address = wire.url.removeprefix("http://").partition("/")[0]
        monkeypatch.setenv("http_proxy", f"http://user:secret@{address}")
        request = UpstreamRequest("http://provider.invalid/v1/chat?x=1", {}, b"{}")
        for _ in range(2):
            assert text_of(await soon(wire.upstream.whole(PROVIDER, request))) == "مُعْجَم"
        (connection,) = wire.connections
        lines = connection.head.split(b"\r\n")
        assert lines[0] == b"POST http://provider.invalid/v1/chat?x=1 HTTP/1.1"
        assert b"Host: provider.invalid" in lines
        assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in lines
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await soon(wire.whole())
        assert wire.connections[-1].head.startswith(b"POST /v1/chat/completions HTTP/1.1")


async def test_tls_is_checked() -> None:
    """A server that speaks no TLS on an https address is one that cannot be reached."""

    async def script(connection: Connection) -> None:
        await connection.send(answer(REPLY))

    timeouts = Timeouts(connect_s=0.3, first_token_s=5, idle_s=5)
    async with wired(script, timeouts) as wire:
        request = UpstreamRequest(wire.url.replace("http:", "https:"), {}, b"{}")
        with pytest.raises(UpstreamError) as refused:
            await soon(wire.upstream.whole(PROVIDER, request))
        assert refused.value.kind == "connect"
