"""How a stream ends that breaks, or falls silent, at the worst of moments."""

import asyncio
import socket
import threading
import time

import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished
from gateway.engine.upstream import Timeouts, Upstream, open_session
from gateway.providers.base import UpstreamRequest
from gateway.providers.registry import PROVIDERS
from tests.engine.turns import soon
from tests.engine.wires import END, HEAD, LAST, PROVIDER, SSE, TOKEN, Connection, Wire, text_of, wired

GEMINI_TOKEN = b'data: {"candidates":[{"content":{"parts":[{"text":"\\u0645"}]}}]}\r\n\r\n'
GEMINI_STOP = b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n'
BARE_ERROR = b'{\n  "error": {\n    "code": 503, "message": "overloaded", "status": "UNAVAILABLE"\n  }\n}\n'


async def streamed(wire: Wire) -> list[Event]:
    """All events of a call in Gemini's format."""
    events: list[Event] = []

    def take(batch: list[Event]) -> bool:
        events.extend(batch)
        return False

    await wire.upstream.stream(PROVIDERS["google"], wire.request(), take)
    return events


@pytest.mark.parametrize("finish", [b"", GEMINI_STOP], ids=["before the finish", "behind it"])
async def test_what_a_provider_says_of_its_failure_is_heard_although_the_connection_breaks(finish: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(GEMINI_TOKEN + finish + BARE_ERROR)
        connection.close()

    async with wired(script) as wire:
        events = await soon(streamed(wire))
        (failed,) = (event for event in events if isinstance(event, Failed | Finished))
        assert text_of(events) == "م"
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, UpstreamError)
        assert (failed.error.kind, failed.error.upstream_status) == ("overloaded", 503)


async def test_a_finish_whose_blank_line_is_missing_counts_where_the_connection_breaks_too() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(GEMINI_TOKEN + GEMINI_STOP.rstrip() + b"\r\n")
        connection.close()

    async with wired(script) as wire:
        events = await soon(streamed(wire))
        assert (text_of(events), events[-1]) == ("م", Finished("stop"))


class Slow:
    """A server in a thread of its own; it ends its reply while the event loop stands still."""

    def __init__(self, begun: bytes, rest: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._end, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(begun, rest))
        self._thread.start()

    def _serve(self, begun: bytes, rest: bytes) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(SSE + begun)
            self._end.wait(30)
            connection.sendall(rest)
            self._ended.set()
            connection.recv(1)

    def stand_still(self, seconds: float) -> None:
        """Block the caller for so long, and until the rest is sent."""
        time.sleep(seconds)
        self._end.set()
        assert self._ended.wait(30)

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)
        self._listener.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("provider", "begun", "rest", "timeouts"),
    [
        ("google", GEMINI_TOKEN + GEMINI_STOP, LAST, Timeouts(connect_s=10, first_token_s=10, idle_s=0.1)),
        (
            "openai",
            HEAD,
            chunk(b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'),
            Timeouts(connect_s=10, first_token_s=1, idle_s=10),
        ),
    ],
    ids=["a finish", "an error"],
)
async def test_an_end_that_comes_at_the_very_moment_of_a_timeout_is_told_once(
    provider: str, begun: bytes, rest: bytes, timeouts: Timeouts
) -> None:
    """The loop finds both at once: the bytes, and that they are too late."""
    server = Slow(chunk(begun), rest)
    taken: list[Event] = []

    def take(batch: list[Event]) -> bool:
        if not taken:
            asyncio.get_running_loop().call_soon(server.stand_still, min(timeouts.first_token_s, timeouts.idle_s))
        taken.extend(batch)
        return False

    request = UpstreamRequest(server.url, {}, b"{}")
    try:
        async with open_session(timeouts) as session:
            await soon(Upstream(session, timeouts, 1000).stream(PROVIDERS[provider], request, take))
    finally:
        await asyncio.to_thread(server.close)
    assert [type(event) for event in taken if isinstance(event, Finished | Failed)] == [Finished if rest == LAST else Failed]


@pytest.mark.parametrize("at", ["a token", "the end"])
async def test_what_the_taker_raises_ends_the_call_and_its_connection(at: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(SSE)
        await connection.chunks(HEAD + TOKEN)
        if at == "the end":
            await connection.chunks(END)
        await connection.until_gone()

    def take(batch: list[Event]) -> bool:
        if at == "a token" or isinstance(batch[-1], Finished):
            raise ZeroDivisionError
        return False

    async with wired(script) as wire:
        with pytest.raises(ZeroDivisionError):
            await soon(wire.upstream.stream(PROVIDER, wire.request(), take))
        await soon(wire.connections[0].gone.wait())
