"""Load: so many keep-alive connections, each sending one chat after another, and what the server spent on them.

CPU is that of the server's process and its children (user and system), from the operating system's own count. A turn counts
once its answer has been read whole: to its `Content-Length`, or to the last chunk of a stream that had its last event.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import psutil

from bench.upstream import WORD

_FIRST = WORD.strip().encode()
_END = b"0\r\n\r\n"
_LAST_EVENTS = (b"[DONE]", b"event: done")


@dataclass(slots=True)
class Run:
    """What one run measured; times in seconds, `cpu` in CPU seconds of the server."""

    turns: int = 0
    errors: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    first: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a turn."""
        return 1000 * self.cpu / max(1, self.turns)

    @property
    def rate(self) -> float:
        """Turns a second."""
        return self.turns / self.wall if self.wall else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, where the system tells it those that have ended too."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    ended = (getattr(times[0], name, 0.0) for name in ("children_user", "children_system"))
    return float(sum(time.user + time.system for time in times) + sum(ended))


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    process = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20)


class Client(asyncio.Protocol):
    """One connection; `ask` sends the request and returns (time to first token, total time)."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[float, float]] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, no subclasses of the library's.
        self._transport, self.open = cast("asyncio.Transport", transport), True

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    @property
    def reply(self) -> bytes:
        """What came for the last request, head and all."""
        return bytes(self._buffer)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def ask(self) -> "asyncio.Future[tuple[float, float]]":
        """Send the request."""
        self._buffer.clear()
        self._first, self._begun, self._length = 0.0, time.perf_counter(), -1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = self._answer
        if answer is None or answer.done():
            return
        if not self._first and _FIRST in self._buffer:
            self._first = time.perf_counter() - self._begun
        if self._length < 0 and (split := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:split]).lower()
            if not head.startswith(b"http/1.1 200"):
                answer.set_exception(ConnectionError(bytes(self._buffer).decode(errors="replace")[:300]))
                return
            mark = head.find(b"content-length:")
            self._length = split + 4 + int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
        ended = len(self._buffer) >= self._length if self._length > 0 else self._buffer.endswith(_END)
        if self._length < 0 or not ended:
            return
        if not self._length and not any(self._buffer.rfind(last) > 0 for last in _LAST_EVENTS):
            answer.set_exception(ConnectionError(f"a stream ended without its last event: {bytes(self._buffer[-300:])!r}"))
        else:
            answer.set_result((self._first, time.perf_counter() - self._begun))


def request_bytes(url: str, body: bytes, headers: Sequence[str] = ()) -> bytes:
    """One POST, ready to send."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


async def load(url: str, body: bytes, headers: Sequence[str], *, clients: int, turns: int, pid: int) -> Run:
    """Send `turns` chats over `clients` connections."""
    run, left = Run(), iter(range(turns))
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = request_bytes(url, body, headers)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        client: Client | None = None
        for _ in left:
            try:
                if client is None or not client.open:
                    _, client = await loop.create_connection(lambda: Client(request), host, port)
                first, total = await asyncio.wait_for(client.ask(), 60)
            except (OSError, TimeoutError) as error:
                run.errors += 1
                if run.errors == 1:
                    print(f"first error at {url}: {error}")
                client = None
            else:
                run.turns += 1
                run.first.append(first)
                run.total.append(total)
        if client is not None:
            client.close()

    before, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    run.wall = time.perf_counter() - begun
    run.cpu = cpu_seconds(pid) - before
    return run
