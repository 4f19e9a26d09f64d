"""`make bench-peers`: the load of `make bench` on other gateways too, all of them in one run.

Every server is asked in turn, several times; what counts are the ratios of the medians. LiteLLM gets a tenth of the turns, so
that the run ends.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import psutil
import uvloop

from bench import peers_servers, servers
from bench.__main__ import BURST, JSON, PACED, Scenario, asked, measure
from bench.load import Client, Run, cpu_seconds, memory_mb, quantile, request_bytes
from bench.servers import Server
from bench.upstream import WORD

SCENARIOS: Final = (replace(JSON, turns=2000), replace(BURST, turns=1000), replace(PACED, clients=100, turns=200))
LOGGING: Final = ("floor", "gateway", "gateway /v1")
SHARES: Final = {"litellm": 0.1}
PACED_SHARES: Final = {"litellm": 0.05}
MODEL: Final = "gpt-6-luna"


@dataclass(slots=True)
class Row:
    """What was measured of one server in one scenario; `database` is PostgreSQL's CPU seconds in each run."""

    runs: list[Run] = field(default_factory=list)
    database: list[float] = field(default_factory=list)

    def middle(self, value: Callable[[Run], float]) -> float:
        """The median over the runs."""
        return statistics.median(value(run) for run in self.runs)

    @property
    def spread(self) -> float:
        """Half the distance of the best from the worst run, in per cent of the median."""
        cpu = [run.cpu_ms for run in self.runs]
        middle = statistics.median(cpu)
        return 100 * (max(cpu) - min(cpu)) / (2 * middle) if middle else 0.0


def database_pid(url: str) -> int | None:
    """PostgreSQL's process, where it runs on this machine with its socket in its own folder."""
    for host in parse_qs(urlsplit(url).query).get("host", ()):
        if (file := Path(host) / "postmaster.pid").exists():
            return int(file.read_text(encoding="utf-8").split("\n", 1)[0])
    return None


def peak_mb(pid: int) -> float:
    """The most memory that a process and its children have held, each by itself; not a number where nobody counts it."""
    files = (Path(f"/proc/{one.pid}/status") for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)))
    lines = (line.split() for file in files if file.exists() for line in file.read_text(encoding="utf-8").splitlines())
    kilobytes = [int(words[1]) for words in lines if words and words[0] == "VmHWM:"]
    return sum(kilobytes) / 1024 if kilobytes else float("nan")


async def verify(server: Server, scenario: Scenario, tokens: int) -> None:
    """Ask once; raises ValueError unless the whole reply arrives."""
    url, body = asked(server, scenario, tokens)
    parts = urlsplit(url)
    request = request_bytes(url, body, server.headers)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    transport, client = await asyncio.get_running_loop().create_connection(lambda: Client(request), host, port)
    await asyncio.wait_for(client.ask(), 60)
    transport.close()
    if (found := client.reply.count(WORD.strip().encode())) < tokens:
        raise ValueError(f"{server.name} sent {found} of {tokens} words: {client.reply!r}")


async def rounds(
    all_servers: Sequence[Server], scenario: Scenario, flags: argparse.Namespace, database: int | None
) -> dict[str, Row]:
    """Every server in turn, after a short warming."""
    shares = PACED_SHARES if scenario.gap_ms else SHARES
    rows = {server.name: Row() for server in all_servers}
    for server in all_servers:
        await verify(server, scenario, flags.tokens)
        await measure(server, scenario, flags.scale * shares.get(server.name, 1) / 5, flags.tokens)
    for _ in range(flags.times):
        for server in all_servers:
            before = cpu_seconds(database) if database else 0.0
            row = rows[server.name]
            row.runs.append(await measure(server, scenario, flags.scale * shares.get(server.name, 1), flags.tokens))
            row.database.append(cpu_seconds(database) - before if database else 0.0)
    return rows


def show(scenario: Scenario, rows: dict[str, Row]) -> None:
    """Print a scenario's rows."""
    load_average = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{scenario.name} (load average {load_average})")
    print(
        f"{'':12}{'CPU ms':>9}{'± %':>7}{'ratio':>8}{'+ database':>12}{'turns/s':>9}"
        f"{'first p50':>12}{'p99':>9}{'turns':>7}{'errors':>8}"
    )
    own = rows["gateway"].middle(lambda run: run.cpu_ms)
    for name, row in rows.items():
        middle = row.middle(lambda run: run.cpu_ms)
        logging = 1000 * statistics.median(row.database) / max(1, row.runs[0].turns)
        logs = f"{logging:9.3f} ms" if name in LOGGING else f"{'none':>12}"
        print(
            f"{name:12}{middle:9.3f}{row.spread:7.1f}{middle / own if own else float('nan'):8.2f}{logs}"
            f"{row.middle(lambda run: run.rate):9.0f}{_first_ms(row, 0.5):9.1f} ms{_first_ms(row, 0.99):6.0f} ms"
            f"{sum(run.turns for run in row.runs):7}{sum(run.errors for run in row.runs):8}",
            flush=True,
        )


def _first_ms(row: Row, share: float) -> float:
    return row.middle(lambda run: 1000 * quantile(run.first, share))


def start_all(stack: ExitStack, direct: Server, database_url: str, python: Path, only: Sequence[str]) -> list[Server]:
    """The servers to measure; a peer that is not installed is said to be missing."""
    gateway = stack.enter_context(servers.gateway(direct, database_url, OPENAI_MODEL=MODEL))
    found = [
        direct,
        stack.enter_context(servers.floor(direct, database_url)),
        gateway,
        replace(gateway, name="gateway /v1", url=f"{gateway.url}/v1", model=MODEL),
    ]
    peers = {
        "nginx": lambda: peers_servers.nginx(direct),
        "tensorzero": lambda: peers_servers.tensorzero(direct, python),
        "litellm": lambda: peers_servers.litellm(direct, python),
    }
    for name in only:
        if (server := stack.enter_context(peers[name]())) is None:
            print(f"{name} is not installed")
        else:
            found.append(server)
    return found


async def main() -> None:
    """Run all scenarios and print one table each."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--python", type=Path, default=Path(".venv-peers/bin/python"), help="of the peers' environment")
    parser.add_argument("--peers", default="nginx,tensorzero,litellm", help="which of them, with commas")
    parser.add_argument("--times", type=int, default=3, help="runs of each row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of turns")
    parser.add_argument("--tokens", type=int, default=100, help="length of a reply")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    flags = parser.parse_args()
    servers.prepare()
    with ExitStack() as stack:
        database_url = stack.enter_context(servers.postgres())
        direct = stack.enter_context(servers.upstream(tokens=flags.tokens))
        found = start_all(stack, direct, database_url, flags.python.absolute(), flags.peers.split(","))
        idle = {server.name: memory_mb(server.pid) for server in found}
        for scenario in SCENARIOS:
            if flags.only in scenario.name:
                show(scenario, await rounds(found, scenario, flags, database_pid(database_url)))
        print(f"\n{'memory, MB':12}{'idle':>9}{'peak':>9}")
        for server in found:
            print(f"{server.name:12}{idle[server.name]:9.0f}{peak_mb(server.pid):9.0f}")


if __name__ == "__main__":
    uvloop.run(main())
