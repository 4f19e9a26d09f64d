"""What the journal costs: CPU a turn of the same gateway with it and with one that keeps nothing, in turn, in one run.

`python -m bench.journal` takes about three minutes. The CPU is that of the whole process, the journal's thread included.
"""

import argparse
import statistics

import uvloop

from bench import servers
from bench.__main__ import BURST, JSON, PACED, rounds
from bench.load import Run


def cost(runs: dict[str, list[Run]]) -> str:
    """One row: CPU with and without, and by how much they differ, by the medians and round by round."""
    with_it, without = ([run.cpu_ms for run in runs[name]] for name in ("gateway", "unjournaled"))
    here, there = statistics.median(with_it), statistics.median(without)
    each = sorted(100 * (a / b - 1) for a, b in zip(with_it, without, strict=True))
    errors = sum(run.errors for measured in runs.values() for run in measured)
    return f"{here:.3f} ms | {there:.3f} ms | {100 * (here / there - 1):+.1f} % | {each[0]:+.1f} … {each[-1]:+.1f} % | {errors}"


async def main() -> None:
    """Print one row a kind of load."""
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds of each row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of turns")
    parser.add_argument("--tokens", type=int, default=100, help="length of a reply")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    flags = parser.parse_args()
    servers.prepare()
    with (
        servers.postgres() as database_url,
        servers.upstream(tokens=flags.tokens) as direct,
        servers.gateway(direct, database_url) as gateway,
        servers.gateway(direct, database_url, name="unjournaled", command=("-m", "bench.unjournaled")) as unjournaled,
    ):
        print("| | with | without | journal | rounds | errors |\n| --- | --- | --- | --- | --- | --- |")
        for scenario in (JSON, BURST, PACED):
            if flags.only in scenario.name:
                runs = await rounds((gateway, unjournaled), scenario, flags.scale, flags.times, flags.tokens)
                print(f"| {scenario.name} | {cost(runs)} |", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
