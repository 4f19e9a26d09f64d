"""Loads that are held: many streams open at once, and questions that come at an even rate whatever the server does."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import Client, Run, cpu_seconds, load, memory_mb, request_bytes

GAP_MS = 500


@dataclass(frozen=True, slots=True)
class Held:
    """What open streams cost: `kb` of memory each over what the server took before, `token_us` of CPU a token; `whole` when
    all of them were open from before the measurement to its end."""

    streams: int
    kb: float
    token_us: float
    whole: bool
    errors: int


def tokens_of(settle_s: float, window_s: float) -> int:
    """How long the replies must be so that every stream outlasts the measurement."""
    return int((settle_s + window_s + 1) * 1000 / GAP_MS)


async def hold(
    url: str, body: bytes, headers: Sequence[str], *, streams: int, pid: int, settle_s: float, window_s: float
) -> Held:
    """Open all streams at once, give them `settle_s` seconds to begin, measure for `window_s`, let them end."""
    idle = memory_mb(pid)
    running = asyncio.create_task(load(url, body, headers, clients=streams, turns=streams, pid=pid))
    await asyncio.sleep(settle_s)
    cpu, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(window_s)
    cpu, seconds = cpu_seconds(pid) - cpu, time.perf_counter() - begun
    grown = memory_mb(pid) - idle
    run = await running
    whole = not run.errors and max(run.first) < settle_s and min(run.total) > settle_s + window_s
    return Held(streams, 1024 * grown / streams, 1e6 * cpu / (streams * seconds * 1000 / GAP_MS), whole, run.errors)


async def arrive(url: str, body: bytes, headers: Sequence[str], *, rate: float, turns: int, pid: int) -> Run:
    """Ask `rate` questions a second, on connections that are free or, where none is, new ones."""
    run, free = Run(), list[Client]()
    parts, request = urlsplit(url), request_bytes(url, body, headers)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        try:
            client = free.pop() if free else None
            if client is None or not client.open:
                _, client = await loop.create_connection(lambda: Client(request), host, port)
            first, total = await asyncio.wait_for(client.ask(), 60)
        except (OSError, TimeoutError) as error:
            run.errors += 1
            if run.errors == 1:
                print(f"first error at {url}: {error}")
        else:
            free.append(client)
            run.turns += 1
            run.first.append(first)
            run.total.append(total)

    before, begun = cpu_seconds(pid), loop.time()
    asked: list[asyncio.Task[None]] = []
    for number in range(turns):
        await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
        asked.append(loop.create_task(ask()))
    await asyncio.gather(*asked)
    run.wall, run.cpu = loop.time() - begun, cpu_seconds(pid) - before
    return run
