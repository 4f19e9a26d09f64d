"""Readers that stopped reading beside readers that did not: what the ones cost the others.

`python -m bench.streams_stalled`: live clients ask and read: alone, beside others that never read, and alone again. Lateness is
how much later than it was due, counted from its reply's first, a token came.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import asyncpg
import uvloop

from bench import servers
from bench.load import cpu_seconds, memory_mb, quantile, request_bytes
from bench.servers import Server
from bench.upstream import wish

QUESTION = "ما معنى كلمة «كتاب»؟"
LIVE_TOKENS, LIVE_GAP_MS = 20, 250
STALLED_TOKENS = 30
WORD_BYTES = 9
_TOKEN = b"event: token\n"
_END = b"0\r\n\r\n"


@dataclass(slots=True)
class Phase:
    """What the live clients saw, in seconds; the most memory that the gateway had meanwhile (MB), and its share of a core."""

    name: str
    turns: int = 0
    errors: int = 0
    first: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    memory: float = 0.0
    core: float = 0.0

    def row(self) -> str:
        """A line of the table."""
        late = " / ".join(f"{1000 * quantile(self.late, share):.0f}" for share in (0.5, 0.99, 0.999))
        first = " / ".join(f"{1000 * quantile(self.first, share):.0f}" for share in (0.5, 0.99))
        return f"| {self.name} | {self.turns} | {first} | {late} | {self.memory:.0f} | {100 * self.core:.0f} % | {self.errors} |"


class Live(asyncio.Protocol):
    """A connection that notes when each token came, which it knows by a mark."""

    def __init__(self, mark: bytes = _TOKEN) -> None:
        self._mark = mark
        self._times: list[float] = []
        self._tail = b""
        self._answer: asyncio.Future[list[float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def ask(self, request: bytes) -> "asyncio.Future[list[float]]":
        """Ask; the moments at which tokens came."""
        self._times, self._tail = [], b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        # No token's mark comes twice: what is kept of the last piece is shorter than a mark.
        self._times += [now] * (self._tail + data).count(self._mark)
        self._tail = (self._tail + data)[-len(self._mark) + 1 :]
        if self._tail.endswith(_END) and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._times)


async def live(server: Server, phase: Phase, clients: int, seconds: float) -> Phase:
    """So many clients, asking one question after another for so long."""
    request = request_bytes(f"{server.url}/chat/stream", _body(wish(LIVE_TOKENS, LIVE_GAP_MS)), server.headers)
    parts, loop = urlsplit(server.url), asyncio.get_running_loop()
    until = loop.time() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(number / clients * LIVE_TOKENS * LIVE_GAP_MS / 1000)
        _, client = await loop.create_connection(Live, parts.hostname or "", parts.port or 80)
        while loop.time() < until:
            begun = time.perf_counter()
            try:
                times = await asyncio.wait_for(client.ask(request), 60)
            except (OSError, TimeoutError) as error:
                phase.errors += 1
                print(f"error: {error!r}")
                return
            phase.turns += 1
            phase.first.append(times[0] - begun)
            phase.late += [at - times[0] - number * LIVE_GAP_MS / 1000 for number, at in enumerate(times)]

    async def watch() -> None:
        while True:
            phase.memory = max(phase.memory, memory_mb(server.pid))
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    cpu, begun = cpu_seconds(server.pid), loop.time()
    await asyncio.gather(*(one(number) for number in range(clients)))
    watching.cancel()
    phase.core = (cpu_seconds(server.pid) - cpu) / (loop.time() - begun)
    print(phase.row())
    return phase


async def stall(server: Server, clients: int, reply_kb: int, seconds: float) -> list[socket.socket]:
    """So many clients that ask a question and never read; their replies take `seconds`."""
    words = max(1, reply_kb * 1024 // STALLED_TOKENS // WORD_BYTES)
    body = _body(wish(STALLED_TOKENS, int(seconds * 1000 / STALLED_TOKENS), words))
    request = request_bytes(f"{server.url}/chat/stream", body, server.headers)
    parts, loop = urlsplit(server.url), asyncio.get_running_loop()
    lines = []
    for _ in range(clients):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.setblocking(False)
        await loop.sock_connect(line, (parts.hostname, parts.port))
        await loop.sock_sendall(line, request)
        lines.append(line)
    return lines


def active_turns(server: Server) -> int:
    """How many replies are being written."""
    with urllib.request.urlopen(f"{server.url}/health", timeout=120) as answer:
        found: int = json.load(answer)["active_turns"]
    return found


async def until_active(server: Server, wanted: range) -> None:
    """Wait until so many replies are being written."""
    while await asyncio.to_thread(active_turns, server) not in wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


def _body(text: str) -> bytes:
    return json.dumps({"message": f"{QUESTION} {text}"}, ensure_ascii=False).encode()


async def logged(database_url: str) -> dict[str, int]:
    """Turns in the log, by status."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT status, count(*) AS turns FROM messages WHERE role = 'assistant' GROUP BY status")
    await connection.close()
    return {row["status"]: row["turns"] for row in rows}


@contextlib.contextmanager
def gateway() -> Iterator[tuple[Server, str]]:
    """A provider, a PostgreSQL and a gateway."""
    with (
        servers.postgres() as database_url,
        servers.upstream(tokens=LIVE_TOKENS) as provider,
        servers.gateway(provider, database_url) as server,
    ):
        yield server, database_url


async def main() -> None:
    """Run the three phases and print their table."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams_stalled", description=__doc__)
    parser.add_argument("--stalled", type=int, default=1000)
    parser.add_argument("--live", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30, help="how long each phase lasts")
    parser.add_argument("--reply-kb", type=int, default=20, help="of replies that are not read")
    flags = parser.parse_args()
    servers.prepare()
    with gateway() as (server, database_url):
        print(f"memory when idle: {memory_mb(server.pid):.0f} MB")
        await live(server, Phase("warming"), flags.live, 2)
        print("| | turns | first token, ms p50 / p99 | lateness, ms p50 / p99 / p99.9 | MB at most | of a core | errors |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        phases = [await live(server, Phase("alone"), flags.live, flags.seconds)]
        lines = await stall(server, flags.stalled, flags.reply_kb, 3 * flags.seconds)
        await until_active(server, range(9 * flags.stalled // 10, flags.stalled + 1))
        phases.append(await live(server, Phase(f"beside {flags.stalled} that never read"), flags.live, flags.seconds))
        await until_active(server, range(1))
        for line in lines:
            line.close()
        phases.append(await live(server, Phase("alone again"), flags.live, flags.seconds))
        print(f"memory at the end: {memory_mb(server.pid):.0f} MB")
        asked = flags.stalled + sum(phase.turns for phase in phases)
        print(f"asked for (the warming apart): {asked}; the log has {await logged(database_url)}")


if __name__ == "__main__":
    uvloop.run(main())
