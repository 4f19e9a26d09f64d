"""One call to a provider over a real socket: what goes well, and what every kind of failure becomes."""

import asyncio
import gc
import socket

import orjson
import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Failed, Finished, ToolCalled
from gateway.engine import upstream
from gateway.engine.upstream import MAX_ERROR_BYTES, Timeouts, Upstream, open_session
from gateway.providers.base import UpstreamRequest
from tests.engine.turns import soon
from tests.engine.wires import END, HEAD, LAST, PATIENT, PROVIDER, SSE, TOKEN, Connection, Wire, frame, text_of, wired

REPLY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "مرحبا"}, "finish_reason": "stop"}]}


def reply(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def refusal(wire: Wire, *, stream: bool = True) -> UpstreamError:
    with pytest.raises(UpstreamError) as refused:
        await soon(wire.stream() if stream else wire.whole())
    return refused.value


async def test_a_streamed_reply() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD, TOKEN, TOKEN + END)
        await connection.send(LAST)

    async with wired(script) as wire:
        events = await soon(wire.stream(b'{"x":1}'))
        assert text_of(events) == "مرحبامرحبا"
        assert events[-1] == Finished("stop")
        (connection,) = wire.connections
        assert connection.body == b'{"x":1}'
        assert b"accept-encoding: identity" in connection.head.lower()


async def test_a_reply_that_comes_byte_by_byte_is_the_same() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(*(bytes([byte]) for byte in HEAD + TOKEN + END))
        await connection.send(LAST)

    async with wired(script) as wire:
        events = await soon(wire.stream())
        assert (text_of(events), events[-1]) == ("مرحبا", Finished("stop"))


async def test_a_whole_reply() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(reply(orjson.dumps(REPLY)))

    async with wired(script) as wire:
        events = await soon(wire.whole())
        assert (text_of(events), events[-1]) == ("مرحبا", Finished("stop"))


async def test_a_large_request_is_sent_without_a_warning() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(reply(orjson.dumps(REPLY)))

    async with wired(script) as wire:
        body = b'"' + b"x" * 3_000_000 + b'"'
        await soon(wire.whole(body))
        assert wire.connections[0].body == body


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/html"])
async def test_a_stream_that_is_none_is_read_as_a_whole_reply(kind: str) -> None:
    body = orjson.dumps(REPLY) if "json" in kind else "<html>خطأ</html>".encode()

    async def script(connection: Connection) -> None:
        await connection.send(reply(body, kind=kind))

    async with wired(script) as wire:
        events = await soon(wire.stream())
        if "json" in kind:
            assert (text_of(events), events[-1]) == ("مرحبا", Finished("stop"))
        else:
            assert isinstance(events[-1], Failed)
            assert events[-1].error.code == "provider_error"


async def test_a_stream_that_is_not_labelled_as_one_is_read_all_the_same() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE.replace(b"Content-Type: text/event-stream\r\n", b""))
        await connection.chunks(HEAD + TOKEN + END)
        await connection.send(LAST)

    async with wired(script) as wire:
        assert text_of(await soon(wire.stream())) == "مرحبا"


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    async with open_session(PATIENT) as session:
        caller = Upstream(session, PATIENT, 1000)
        with pytest.raises(UpstreamError) as refused:
            await soon(caller.whole(PROVIDER, UpstreamRequest(url, {}, b"{}")))
    assert (refused.value.code, refused.value.kind) == ("provider_error", "connect")


async def test_nobody_answers_the_door() -> None:
    """With the queue of a listening socket full, further SYNs are dropped."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            with pytest.raises(BlockingIOError):
                caller.connect(server.getsockname())
        timeouts = Timeouts(connect_s=0.05, first_token_s=10, idle_s=10)
        async with open_session(timeouts) as session:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            with pytest.raises(UpstreamError) as refused:
                await soon(Upstream(session, timeouts, 1000).whole(PROVIDER, UpstreamRequest(url, {}, b"{}")))
        for caller in callers:
            caller.close()
    assert (refused.value.code, refused.value.kind) == ("provider_timeout", "connect")


BROKEN = {
    "no answer": [],
    "garbage": [b"\x00\xff\xfe garbage\r\n\r\n"],
    "head cut": [b"HTTP/1.1 200 OK\r\nContent-Ty"],
    "endless head": [b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000],
    "chunk cut": [SSE, b"ff\r\ndata: x"],
    "chunk size no number": [SSE, b"zz\r\n"],
    "no last chunk": [SSE, b"5\r\n: x\n\n\r\n"],
    "length not kept": [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n: x\n\n"],
    "body that does not unpack": [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nno zip"
    ],
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", BROKEN)
async def test_broken_replies(case: str, stream: bool, how: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(*BROKEN[case])
        connection.reset() if how == "reset" else connection.close()

    async with wired(script) as wire:
        error = await refusal(wire, stream=stream)
        assert (error.code, error.kind, error.retryable) == ("provider_error", "broken", True)
    gc.collect()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_stream_cut_behind_a_token_has_given_the_token(how: str) -> None:
    read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        await read.wait()
        connection.reset() if how == "reset" else connection.close()

    async with wired(script) as wire, wire.batches() as batches:
        assert text_of(await soon(anext(batches))) == "مرحبا"
        read.set()
        with pytest.raises(UpstreamError, match="broke"):
            await soon(anext(batches))


@pytest.mark.parametrize("how", ["reset", "close", "silence"])
async def test_what_breaks_behind_the_finish_reason_takes_nothing_from_the_reply(how: str) -> None:
    read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN + frame({}, "stop"))
        await read.wait()
        if how == "silence":
            await connection.until_gone()
        connection.reset() if how == "reset" else connection.close()

    timeouts = Timeouts(connect_s=10, first_token_s=10, idle_s=0.2)
    async with wired(script, timeouts) as wire, wire.batches() as batches:
        assert text_of(await soon(anext(batches))) == "مرحبا"
        read.set()
        assert await soon(anext(batches)) == [Finished("stop")]


async def test_an_end_of_stream_without_the_providers_own_end_has_failed() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        await connection.send(LAST)

    async with wired(script) as wire:
        events = await soon(wire.stream())
        assert text_of(events) == "مرحبا"
        assert isinstance(events[-1], Failed)


@pytest.mark.parametrize("status", ["302 Found", "204 No Content", "400 Bad Request", "429 Too Many", "503 Busy", "599 Odd"])
@pytest.mark.parametrize("stream", [True, False])
async def test_other_statuses_are_the_providers_errors(status: str, stream: bool) -> None:
    body = b"" if status.startswith("204") else b'{"error":{"message":"no","type":"t"}}'

    async def script(connection: Connection) -> None:
        head = f"HTTP/1.1 {status}\r\nRetry-After: 7\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: {len(body)}\r\n\r\n"
        await connection.send(head.encode() + body)

    async with wired(script) as wire:
        error = await refusal(wire, stream=stream)
        assert error.upstream_status == int(status[:3])
        assert sum(connection.requests for connection in wire.connections) == 1
        if status.startswith("429"):
            assert (error.code, error.retry_after) == ("provider_overloaded", 7)


@pytest.mark.parametrize("rest", ["endless", "silent", "reset"])
async def test_an_errors_status_counts_whatever_its_body_does(rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_ERROR_BODY_S", 0.05)

    async def script(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n")
        while rest == "endless":
            await connection.chunks(b"x" * 10_000)
        if rest == "reset":
            connection.reset()
        await connection.until_gone()

    async with wired(script) as wire:
        for stream in (True, False):
            error = await refusal(wire, stream=stream)
            assert (error.upstream_status, error.code) == (503, "provider_overloaded")
            assert len(error.upstream_text) <= MAX_ERROR_BYTES
        for connection in wire.connections:
            await soon(connection.gone.wait())


@pytest.mark.parametrize("piece", [b": ping\n\n", b"data: {}\n\n", b"x" * 1000, b"data: " + b"x" * 1000])
async def test_an_endless_stream_is_cut_off(piece: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        while True:
            await connection.chunks(piece * 100)

    async with wired(script, max_reply_bytes=10_000) as wire:
        error = await refusal(wire)
        assert (error.code, error.kind) == ("provider_error", "broken")
        await soon(wire.connections[0].gone.wait())


async def test_an_endless_whole_reply_is_cut_off() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE.replace(b"text/event-stream", b"application/json"))
        while True:
            await connection.chunks(b"[" * 10_000)

    async with wired(script, max_reply_bytes=10_000) as wire:
        for stream in (True, False):
            assert (await refusal(wire, stream=stream)).kind == "broken"


async def test_tool_calls_come_whole_over_the_wire() -> None:
    pieces = [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in ('{"q": ', '"كتب"', "}")]
    first = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "search", "arguments": ""}}]}

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD, frame(first), *map(frame, pieces), END)
        await connection.send(LAST)

    async with wired(script) as wire:
        events = await soon(wire.stream())
        assert ToolCalled("call_1", "search", '{"q": "كتب"}') in events
