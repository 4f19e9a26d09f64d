"""How long a call waits and what it holds meanwhile, when its connection is closed, and when it is used again."""

import asyncio
import gc
import time
import tracemalloc

import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished
from gateway.engine import exchange
from gateway.engine.upstream import Timeouts
from tests.engine.stage import Halt
from tests.engine.turns import soon
from tests.engine.wires import END, HEAD, LAST, PROVIDER, SSE, TOKEN, Connection, frame, text_of, wired

SHORT = 0.15
QUICK_FIRST = Timeouts(connect_s=10, first_token_s=SHORT, idle_s=10)
QUICK_IDLE = Timeouts(connect_s=10, first_token_s=10, idle_s=SHORT)


async def drip(connection: Connection, piece: bytes) -> None:
    """Send `piece` again and again, more often than any timeout, until the client goes."""
    gone = asyncio.ensure_future(connection.until_gone())
    while not gone.done():
        await connection.chunks(piece)
        await asyncio.wait((gone,), timeout=SHORT / 10)


@pytest.mark.parametrize(
    "piece", [b"", HEAD, b": ping\n\n", b'event: ping\ndata: {"type":"ping"}\n\n', b"data: ", b"\n"], ids=lambda piece: piece[:13]
)
async def test_nothing_but_output_ends_the_wait_for_the_first_token(piece: bytes) -> None:
    async def script(connection: Connection) -> None:
        if piece == HEAD:
            await connection.send(SSE)
            await connection.chunks(HEAD)
            await connection.until_gone()
        elif piece:
            await connection.send(SSE)
            await drip(connection, piece)
        else:
            await connection.until_gone()

    async with wired(script, QUICK_FIRST) as wire:
        with pytest.raises(UpstreamError) as late:
            await soon(wire.stream())
        assert (late.value.code, late.value.kind, late.value.status) == ("provider_timeout", "timeout", 504)
        await soon(wire.connections[0].gone.wait())
    gc.collect()


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_an_answer_that_is_here_when_its_time_is_up_is_not_late(kind: str) -> None:
    """The loop was held up: it learns of both together, and what is paid for is taken."""
    body = HEAD + END
    if kind == "application/json":
        body = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
    taken: list[Event] = []

    def take(batch: list[Event]) -> bool:
        taken.extend(batch)
        return False

    async def script(connection: Connection) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        await connection.send(head.encode() + body)
        time.sleep(2 * SHORT)  # noqa: ASYNC251 - the hold-up

    async with wired(script, QUICK_FIRST) as wire:
        await soon(wire.upstream.stream(PROVIDER, wire.request(), take))
        assert [event for event in taken if isinstance(event, Finished | Failed)] == [Finished("stop")]


async def test_silence_behind_a_token_ends_the_call() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        await connection.until_gone()

    async with wired(script, QUICK_IDLE) as wire, wire.batches() as batches:
        assert text_of(await soon(anext(batches))) == "مرحبا"
        with pytest.raises(UpstreamError) as late:
            await soon(anext(batches))
        assert (late.value.code, late.value.kind) == ("provider_timeout", "timeout")
        await soon(wire.connections[0].gone.wait())


@pytest.mark.parametrize("piece", [b": ping\n\n", b'event: ping\ndata: {"type":"ping"}\n\n'])
async def test_pings_keep_a_reply_alive_that_has_begun(piece: bytes) -> None:
    pings = 30

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        for _ in range(pings):
            await connection.chunks(piece)
            await asyncio.sleep(SHORT / 10)
        await connection.chunks(END)
        await connection.send(LAST)

    async with wired(script, QUICK_IDLE) as wire:
        assert (await soon(wire.stream()))[-1] == Finished("stop")


async def test_a_long_call_being_written_is_no_silence() -> None:
    """Its pieces are no output before it is whole; the wait for the first token must not end it."""
    piece = frame({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]})

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD, frame({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}), *[piece] * 20)
        await asyncio.sleep(2 * SHORT)
        await connection.chunks(END)
        await connection.send(LAST)

    async with wired(script, QUICK_FIRST) as wire:
        assert (await soon(wire.stream()))[-1] == Finished("stop")


async def test_a_whole_reply_may_take_its_time() -> None:
    async def script(connection: Connection) -> None:
        await asyncio.sleep(2 * SHORT)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with wired(script, Timeouts(connect_s=10, first_token_s=SHORT, idle_s=SHORT)) as wire:
        assert isinstance((await soon(wire.whole()))[-1], Failed)


@pytest.mark.parametrize("moment", ["before the head", "after the head", "after a token"])
async def test_a_call_that_is_given_up_closes_its_connection_at_once(moment: str) -> None:
    halt = Halt()

    async def script(connection: Connection) -> None:
        if moment != "before the head":
            await connection.send(SSE)
            await connection.chunks(HEAD)
        if moment == "after a token":
            await connection.chunks(TOKEN)
        halt.reached.set()
        await connection.until_gone()

    async with wired(script) as wire:

        async def read() -> None:
            async with wire.batches() as batches:
                async for _ in batches:
                    pass

        reading = asyncio.create_task(read())
        await soon(halt.reached.wait())
        reading.cancel()
        await asyncio.wait((reading,))
        assert reading.cancelled()
        await soon(wire.connections[0].gone.wait())
    gc.collect()


async def test_leaving_the_loop_closes_the_connection() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        await connection.until_gone()

    async with wired(script) as wire:
        async with wire.batches() as batches:
            async for _ in batches:
                break
        await soon(wire.connections[0].gone.wait())
    gc.collect()


async def test_the_connection_of_a_finished_stream_is_used_again() -> None:
    """Also where the body's end comes behind the provider's last event, in a packet of its own."""
    finished = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN, END)
        if connection.requests > 1:
            await finished.wait()
        await connection.send(LAST)

    async with wired(script) as wire:
        for _ in range(5):
            finished.clear()
            async with wire.batches() as batches:
                async for batch in batches:
                    if isinstance(batch[-1], Finished):
                        finished.set()
            await soon(wire.idle())
        assert [connection.requests for connection in wire.connections] == [5]


async def test_a_body_that_does_not_end_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_LINGER_S", 0.001)

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN + END)
        await connection.until_gone()

    async with wired(script) as wire:
        for _ in range(2):
            assert (await soon(wire.stream()))[-1] == Finished("stop")
        for connection in wire.connections:
            await soon(connection.gone.wait())
        assert len(wire.connections) == 2


@pytest.mark.parametrize("how", ["reset", "close", "garbage", "more"])
async def test_what_happens_behind_the_last_event_changes_nothing(how: str) -> None:
    finished = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN + END)
        await finished.wait()
        if how == "garbage":
            await connection.send(b"zz\r\n")
        elif how == "more":
            await connection.chunks(TOKEN)
        connection.reset() if how == "reset" else connection.close()

    async with wired(script) as wire:
        events: list[Event] = []
        async with wire.batches() as batches:
            async for batch in batches:
                events += batch
                if isinstance(batch[-1], Finished):
                    finished.set()
        assert (text_of(events), events[-1]) == ("مرحبا", Finished("stop"))
    gc.collect()


async def test_connections_of_whole_replies_and_of_errors_are_used_again() -> None:
    async def script(connection: Connection) -> None:
        status = b"503 Busy" if connection.requests == 2 else b"200 OK"
        await connection.send(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    async with wired(script) as wire:
        assert isinstance((await soon(wire.whole()))[-1], Failed)
        with pytest.raises(UpstreamError):
            await soon(wire.whole())
        assert isinstance((await soon(wire.stream()))[-1], Failed)
        assert [connection.requests for connection in wire.connections] == [3]


async def test_what_was_asked_is_not_kept_while_the_answer_comes() -> None:
    size, held = 10_000_000, list[int]()

    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD, TOKEN)
        connection.body = b""
        held.append(tracemalloc.get_traced_memory()[0])
        await connection.chunks(END)
        await connection.send(LAST)

    async with wired(script) as wire:
        tracemalloc.start(1)
        try:
            before = tracemalloc.get_traced_memory()[0]
            await soon(wire.upstream.stream(PROVIDER, wire.request(b"x" * size), lambda _: False))
        finally:
            tracemalloc.stop()
    assert held[0] - before < size / 2
