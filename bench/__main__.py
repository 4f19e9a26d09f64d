"""`make bench`: one table, a few minutes. Every row is measured for the floor and the gateway in turn, several times, in the
same run; the ratios of their medians are what counts, the spread shows how noisy the machine was."""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import uvloop

from bench import servers
from bench.load import Run, load, memory_mb, quantile
from bench.servers import Server

TOKENS: Final = 100
QUESTION: Final = "ما معنى كلمة «سلام»؟"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    path: str
    clients: int
    turns: int
    gap_ms: float = 0


SCENARIOS: Final = (
    Scenario("JSON turn", "/chat", 50, 3000),
    Scenario(f"burst stream of {TOKENS}", "/chat/stream", 50, 2000),
    Scenario("paced stream, 20 ms a token", "/chat/stream", 200, 400, gap_ms=20),
)
DIRECT: Final = "/chat/completions"


async def measure(server: Server, path: str, scenario: Scenario, scale: float) -> Run:
    """One run against one server."""
    if server.name == "direct":
        asked: dict[str, object] = {"messages": [{"role": "user", "content": QUESTION}]}
        # The provider tells a stream by these very bytes.
        body = orjson.dumps(asked | ({"stream": True} if "stream" in scenario.path else {}))
    else:
        body = orjson.dumps({"message": QUESTION})
    turns = max(scenario.clients, int(scenario.turns * scale))
    return await load(server.url + path, body, server.headers, clients=scenario.clients, turns=turns, pid=server.pid)


async def rounds(servers_: Sequence[Server], scenario: Scenario, scale: float, times: int) -> dict[str, list[Run]]:
    """Every server in turn, `times` over, after a short warming."""
    runs: dict[str, list[Run]] = {server.name: [] for server in servers_}
    for server in servers_:
        await measure(server, _path(server, scenario), scenario, scale / 5)
    for _ in range(times):
        for server in servers_:
            runs[server.name].append(await measure(server, _path(server, scenario), scenario, scale))
    return runs


def _path(server: Server, scenario: Scenario) -> str:
    return DIRECT if server.name == "direct" else scenario.path


def show(scenario: Scenario, runs: dict[str, list[Run]]) -> None:
    """Print a scenario's rows."""
    print(f"\n{scenario.name} ({scenario.clients} at once)")
    print(f"{'':10}{'CPU ms':>9}{'± %':>7}{'turns/s':>10}{'first p50':>11}{'first p99':>11}{'errors':>8}")
    for name, measured in runs.items():
        cpu = [run.cpu_ms for run in measured]
        middle = statistics.median(cpu)
        spread = 100 * (max(cpu) - min(cpu)) / (2 * middle) if middle else 0.0
        print(
            f"{name:10}{middle:9.3f}{spread:7.1f}{_middle(measured, lambda run: run.rate):10.0f}"
            f"{1000 * _middle(measured, lambda run: quantile(run.first, 0.5)):8.1f} ms"
            f"{1000 * _middle(measured, lambda run: quantile(run.first, 0.99)):8.1f} ms{sum(run.errors for run in measured):8}"
        )
    floor, gateway = (_middle(runs[name], lambda run: run.cpu_ms) for name in ("floor", "gateway"))
    print(f"gateway / floor: {gateway / floor:.2f} x")


def _middle(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)


async def main() -> None:
    """Run all scenarios and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="runs of each row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of turns")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    flags = parser.parse_args()
    with servers.postgres() as database_url:
        for scenario in SCENARIOS:
            if flags.only not in scenario.name:
                continue
            with (
                servers.upstream(tokens=TOKENS, gap_ms=scenario.gap_ms) as direct,
                servers.floor(direct, database_url) as floor,
                servers.gateway(direct, database_url) as gateway,
            ):
                idle = memory_mb(gateway.pid)
                show(scenario, await rounds((direct, floor, gateway), scenario, flags.scale, flags.times))
                print(f"gateway memory: {idle:.0f} MB idle, {memory_mb(gateway.pid):.0f} MB after")


if __name__ == "__main__":
    uvloop.run(main())
