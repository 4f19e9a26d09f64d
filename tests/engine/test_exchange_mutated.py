"""Answers that were damaged on their way: an error or what aiohttp's own client reads, and never a hang."""

import asyncio
import gzip
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.connector import Connector, destination
from gateway.engine.exchange import BrokenError, Exchange
from gateway.engine.upstream import open_session
from tests.engine.turns import soon
from tests.engine.wires import PATIENT

BODY: Final = "مُعْجَم عربيّ".encode()
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
REQUEST: Final = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def chunked(body: bytes, extension: bytes = b"") -> bytes:
    pieces = [body[place : place + 7] for place in range(0, len(body), 7)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\n"


ANSWERS: Final = (
    HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, b";a=b") + b"X: y\r\n\r\n",
    HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(gzip.compress(BODY)) + b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Connection: close\r\n\r\n" + BODY,
    b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
)
PIECES: Final = st.sampled_from(
    [
        *(
            b"",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b"0",
            b"ff",
            b"\x00",
            b"\xff",
            b";",
            b",",
            b"-",
            b"identity",
            b"chunked",
        ),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.1 ", b"HTTP/1.0 "),
    ]
)
CHANGE: Final = st.tuples(st.integers(0, 250), st.integers(0, 3), PIECES)


def changed(answer: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    """With some bytes replaced by others."""
    for place, length, piece in changes:
        answer = answer[:place] + piece + answer[place + length :]
    return answer


class Heard:
    """What a receiver is told."""

    def __init__(self) -> None:
        self.status = 0
        self.data = b""

    def head(self, status: int, headers: Mapping[str, str]) -> float | None:
        self.status = status
        return None

    def body(self, data: bytes) -> bool:
        self.data += data
        return False

    def end(self) -> None:
        pass


async def ours(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes] | None:
    assert isinstance(session.connector, Connector)
    heard = Heard()
    exchange = Exchange(await session.connector.connect(destination(url), [], session.timeout), REQUEST, heard)
    try:
        await soon(exchange.ended)
    except (BrokenError, OSError):
        return None
    return heard.status, heard.data


async def theirs(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes] | None:
    try:
        # Its parser waits for ever for what is to follow upon some errors.
        async with session.post(url, data=b"{}", timeout=aiohttp.ClientTimeout(total=1)) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


@given(st.sampled_from(ANSWERS), st.lists(CHANGE, max_size=3), st.integers(1, 60))
def test_a_damaged_answer_is_an_error_or_read_as_by_others(
    answer: bytes, changes: list[tuple[int, int, bytes]], cut: int
) -> None:
    data = changed(answer, changes)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        for piece in (data[:cut], data[cut:]):
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, open_session(PATIENT) as session:
            found = await ours(session, url)
            expected = await theirs(session, url)
        if not changes:
            assert found is not None
        if found is not None and expected is not None:
            assert found == expected

    asyncio.run(scene())
