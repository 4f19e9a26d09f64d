"""`make bench`: one table, a few minutes. Every row is measured for the floor and the gateway in turn, several times, in the
same run; the ratios of their medians are what counts, the spread shows how noisy the machine was."""

import argparse
import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import uvloop

from bench import servers
from bench.holding import GAP_MS, arrive, hold, tokens_of
from bench.load import Run, load, memory_mb, quantile
from bench.servers import Server
from bench.upstream import wish

QUESTION: Final = "ما معنى كلمة «سلام»؟"
OPENAI_PATH: Final = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    path: str
    clients: int
    turns: int
    gap_ms: int = 0


JSON: Final = Scenario("JSON turn", "/chat", 50, 3000)
BURST: Final = Scenario("burst stream", "/chat/stream", 50, 2000)
PACED: Final = Scenario("paced stream, 20 ms a token", "/chat/stream", 200, 400, gap_ms=20)
SCENARIOS: Final = (JSON, BURST, PACED)
OPEN: Final = "open streams"
FIRST: Final = "first token at half of the gateway's capacity"
OPEN_STREAMS: Final = 2000
FIRST_TURNS: Final = 2000


def asked(server: Server, scenario: Scenario, tokens: int) -> tuple[str, bytes]:
    """The address and the body of a question."""
    text = f"{QUESTION} {wish(tokens, scenario.gap_ms)}"
    if not server.model:
        return server.url + scenario.path, orjson.dumps({"message": text})
    body: dict[str, object] = {"model": server.model, "messages": [{"role": "user", "content": text}]}
    # The provider tells a stream by these very bytes.
    return server.url + OPENAI_PATH, orjson.dumps(body | ({"stream": True} if "stream" in scenario.path else {}))


async def measure(server: Server, scenario: Scenario, scale: float, tokens: int) -> Run:
    """One run against one server."""
    url, body = asked(server, scenario, tokens)
    clients = max(1, min(scenario.clients, int(scenario.turns * scale)))
    turns = max(clients, int(scenario.turns * scale))
    return await load(url, body, server.headers, clients=clients, turns=turns, pid=server.pid)


async def rounds(servers_: Sequence[Server], scenario: Scenario, scale: float, times: int, tokens: int) -> dict[str, list[Run]]:
    """Every server in turn, `times` over, after a short warming."""
    runs: dict[str, list[Run]] = {server.name: [] for server in servers_}
    await asyncio.gather(*(measure(server, scenario, scale / 5, tokens) for server in servers_))
    for _ in range(times):
        for server in servers_:
            runs[server.name].append(await measure(server, scenario, scale, tokens))
    return runs


async def open_streams(servers_: Sequence[Server], scale: float) -> None:
    """What streams cost while they are open, each server fresh: what it took before is its memory when idle."""
    streams = max(10, int(OPEN_STREAMS * scale))
    settle_s, window_s = max(0.5, 7 * min(1.0, scale)), max(0.5, 8 * min(1.0, scale))
    slow = Scenario(OPEN, "/chat/stream", streams, streams, gap_ms=GAP_MS)
    print(f"\n{OPEN} ({streams} at once, a token each {GAP_MS} ms)")
    print(f"{'':10}{'idle MB':>9}{'KB each':>10}{'CPU µs a token':>17}{'errors':>8}")
    for server in servers_:
        idle = memory_mb(server.pid)
        url, body = asked(server, slow, tokens_of(settle_s, window_s))
        held = await hold(url, body, server.headers, streams=streams, pid=server.pid, settle_s=settle_s, window_s=window_s)
        note = "" if held.whole else "  not all were open all the time"
        print(f"{server.name:10}{idle:9.0f}{held.kb:10.1f}{held.token_us:17.0f}{held.errors:8}{note}")


async def first_tokens(direct: Server, gateway: Server, scale: float, tokens: int) -> None:
    """What the gateway adds to the time to the first token while it is half busy."""
    busy = await measure(gateway, BURST, scale / 5, tokens)
    rate = busy.rate / 2
    print(f"\n{FIRST} ({rate:.0f} streams a second)")
    found: list[Run] = []
    for server in (direct, gateway):
        url, body = asked(server, BURST, tokens)
        turns = max(10, int(FIRST_TURNS * scale))
        run = await arrive(url, body, server.headers, rate=rate, turns=turns, pid=server.pid)
        found.append(run)
        print(f"{server.name:10}p50 {_first_ms(run, 0.5):6.2f} ms   p99 {_first_ms(run, 0.99):6.2f} ms   errors {run.errors}")
    added = [_first_ms(found[1], share) - _first_ms(found[0], share) for share in (0.5, 0.99)]
    print(f"{'added':10}p50 {added[0]:6.2f} ms   p99 {added[1]:6.2f} ms")


def _first_ms(run: Run, share: float) -> float:
    return 1000 * quantile(run.first, share)


def show_rows(scenario: Scenario, runs: dict[str, list[Run]]) -> None:
    """Print a scenario's rows."""
    print(f"\n{scenario.name} ({scenario.clients} at once)")
    print(f"{'':10}{'CPU ms':>9}{'± %':>7}{'turns/s':>10}{'first p50':>11}{'first p99':>11}{'errors':>8}")
    for name, measured in runs.items():
        cpu = [run.cpu_ms for run in measured]
        middle = statistics.median(cpu)
        spread = 100 * (max(cpu) - min(cpu)) / (2 * middle) if middle else 0.0
        print(
            f"{name:10}{middle:9.3f}{spread:7.1f}{_middle(measured, lambda run: run.rate):10.0f}"
            f"{_middle(measured, lambda run: _first_ms(run, 0.5)):8.1f} ms"
            f"{_middle(measured, lambda run: _first_ms(run, 0.99)):8.1f} ms{sum(run.errors for run in measured):8}"
        )


def show(scenario: Scenario, runs: dict[str, list[Run]]) -> None:
    """Print a scenario's rows, and what the gateway costs over the floor."""
    show_rows(scenario, runs)
    floor, gateway = (_middle(runs[name], lambda run: run.cpu_ms) for name in ("floor", "gateway"))
    print(f"gateway / floor: {gateway / floor:.2f} x" if floor else "gateway / floor: too short a run to tell")


def _middle(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)


async def main() -> None:
    """Run all scenarios and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="runs of each row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of turns")
    parser.add_argument("--tokens", type=int, default=100, help="length of a reply")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    flags = parser.parse_args()
    servers.prepare()
    with (
        servers.postgres() as database_url,
        servers.upstream(tokens=flags.tokens) as direct,
        servers.floor(direct, database_url) as floor,
        servers.gateway(direct, database_url) as gateway,
    ):
        # First, while both are fresh.
        if flags.only in OPEN:
            await open_streams((floor, gateway), flags.scale)
        for scenario in SCENARIOS:
            if flags.only in scenario.name:
                show(scenario, await rounds((direct, floor, gateway), scenario, flags.scale, flags.times, flags.tokens))
        if flags.only in FIRST:
            await first_tokens(direct, gateway, flags.scale, flags.tokens)
        print(f"\ngateway's memory at the end: {memory_mb(gateway.pid):.0f} MB")


if __name__ == "__main__":
    uvloop.run(main())
