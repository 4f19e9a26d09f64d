"""What durability costs nobody: outages, kills, hang-ups and signals under load, for longer than tests have time for.

`python -m bench.faults` takes about twenty minutes and prints one table; the scenarios are those of `tests/faults`, with bigger
numbers. `wrong` counts turns that are lost, doubled, or not text for text what the client saw, and whatever else must not
happen in a scenario; if it is not 0 everywhere, the exit status is 1.
"""

import argparse
import asyncio
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import simulator
from tests.balancing import database_for
from tests.faults.cancels import hang_up, left_in
from tests.faults.crowd import Crowd, Manner
from tests.faults.database import Database, breaking
from tests.faults.kills import Blow, endure_blows, kill_both, kill_it, kill_its_database, kill_while_it_starts
from tests.faults.ledger import Comparison, compared, settled, texts
from tests.faults.outages import TROUBLES, endure
from tests.faults.rolling import endure_replacing, fleet, wrong_with
from tests.faults.server import Server, own_database, serving
from tests.redis_server import running_redis

KEPT_S = 65.0  # ended turns are kept for a minute
DRAIN_S = 5.0
LAST_WORDS_S = 2.0  # what the end may take beyond DRAIN_S


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `seconds` are what each chat took."""

    name: str
    comparison: Comparison
    note: str = ""
    seconds: tuple[float, ...] = ()

    def line(self) -> str:
        """Print it."""
        found = self.comparison
        took = " / ".join(f"{value:.2f}" for value in _quantiles(self.seconds)) if self.seconds else ""
        ends = ", ".join(f"{count} {name}" for name, count in sorted(found.ends.items()))
        log = ", ".join(f"{count} {name}" for name, count in sorted(found.logged.items()))
        return f"| {self.name} | {ends} | {log} | {found.spooled} | {len(found.wrong)} | {took} | {self.note} |"


@dataclass(slots=True)
class Bench:
    """What scenarios need."""

    place: Path
    database: Database
    provider: simulator.Simulator
    flags: argparse.Namespace
    rows: list[Row] = field(default_factory=list)

    @asynccontextmanager
    async def gateway(self, **settings: str) -> AsyncIterator[Server]:
        """A gateway in a folder of its own."""
        async with serving(_open_folder(self.place), self.provider.base_url, **settings) as server:
            yield server

    def add(self, row: Row, *more: tuple[bool, str]) -> None:
        """Take up a line, with what `more` must hold, and say at once what is wrong."""
        row.comparison.wrong += [what for holds, what in more if not holds]
        self.rows.append(row)
        print(row.line(), flush=True)
        if row.comparison.wrong:
            print(texts(row.comparison.wrong), flush=True)


async def outages(bench: Bench) -> None:
    """The database away in every way, under load."""
    seconds, manner = bench.flags.seconds, Manner(rate=bench.flags.rate)
    for name, trouble in TROUBLES.items():
        url = await bench.database.fresh()
        async with bench.gateway(DATABASE_URL=url) as server, Crowd(lambda: server.url, manner) as crowd:
            outage = await endure(server, url, crowd, trouble(bench.database, url), seconds, around_s=3)
            bench.add(Row(f"database {name}, {seconds:g} s", outage.comparison, _rate(crowd), outage.seconds), _all_done(crowd))


async def broken_wire(bench: Bench) -> None:
    """Connections to the database that break in the middle of messages."""
    seconds, manner = bench.flags.seconds, Manner(rate=bench.flags.rate)
    url = await bench.database.fresh()
    async with breaking(url, random.Random(1)) as (broken_url, wire):

        @asynccontextmanager
        async def breaks() -> AsyncIterator[None]:
            wire.breaks = True
            yield
            wire.breaks = False

        async with bench.gateway(DATABASE_URL=broken_url) as server, Crowd(lambda: server.url, manner) as crowd:
            outage = await endure(server, url, crowd, breaks(), seconds, around_s=3)
        note = f"{_rate(crowd)}, {wire.cuts} breaks"
        bench.add(Row(f"connections break, {seconds:g} s", outage.comparison, note, outage.seconds), _all_done(crowd))


async def kills(bench: Bench) -> None:
    """kill -9, again and again."""
    chance = random.Random(bench.flags.seed)
    url = await bench.database.fresh()
    manner = Manner(rate=20, words=120, gaps_ms=(0, 3, 25), think_ms=800)
    async with bench.gateway(DATABASE_URL=url) as server, Crowd(lambda: server.url, manner) as crowd:
        comparison = await endure_blows(server, url, crowd, _blows(bench.flags.kills, chance, [kill_it]))
    bench.add(Row(f"{bench.flags.kills} kills", comparison))


async def kills_of_both(bench: Bench) -> None:
    """The gateway, its embedded database, both, and a gateway that is just starting."""
    chance = random.Random(bench.flags.seed)
    manner = Manner(rate=20, words=120, gaps_ms=(0, 3, 25), think_ms=800)
    number = max(1, bench.flags.kills // 4)
    ways = [kill_it, kill_its_database, kill_both, kill_while_it_starts(chance)]
    async with bench.gateway() as server, Crowd(lambda: server.url, manner) as crowd:
        comparison = await endure_blows(server, own_database(server), crowd, _blows(number, chance, ways))
        bench.add(Row(f"{number} kills, also of the embedded database", comparison))


def _blows(number: int, chance: random.Random, ways: list[Blow]) -> Iterator[tuple[float, Blow]]:
    for _ in range(number):
        # Most of them soon, some after replies have been coming for a while.
        yield chance.choice((chance.uniform(0, 1), chance.uniform(0, 5))), chance.choice(ways)


async def hang_ups(bench: Bench) -> None:
    """Clients that hang up at any moment, until so many turns were begun; then as many again."""
    for abandon_s in ("0", "300"):
        chance = random.Random(bench.flags.seed)
        manner = Manner(words=60, gaps_ms=(0, 4, 8), think_ms=300)
        url = await bench.database.fresh()
        bench.provider.log.clear()
        async with bench.gateway(DATABASE_URL=url, ABANDON_S=abandon_s) as server, Crowd(lambda: server.url, manner) as crowd:
            looks = []
            for wanted in (bench.flags.clients, 2 * bench.flags.clients):
                while (begun := (await left_in(server)).ended) < wanted:
                    await hang_up(crowd, wanted - begun, chance, longest_s=0.8)
                    await settled(server.url)
                await asyncio.sleep(KEPT_S)
                looks.append(await left_in(server))
            comparison = await compared(url, crowd)
        before, after = looks
        calls = bench.provider.count("open")
        note = (
            f"after {before.ended} turns and after {after.ended}: {before.tasks} and {after.tasks} tasks, {before.clients} and "
            f"{after.clients} sockets, {before.descriptors} and {after.descriptors} descriptors, {before.memory:.0f} and "
            f"{after.memory:.0f} MB; {calls} upstream calls open"
        )
        bench.add(
            Row(f"{len(crowd.asked)} hang-ups, ABANDON_S={abandon_s}", comparison, note),
            (comparison.logged.total() == after.ended, "not every turn that ended is in the log"),
            (after.tasks <= before.tasks and not after.turns, "tasks or turns are left"),
            (not after.clients and not after.readers and not calls, "sockets, readers or upstream calls are left"),
        )


async def shutdown(bench: Bench) -> None:
    """SIGTERM under load: with the database there, with a frozen one, and again a moment later."""
    manner = Manner(rate=bench.flags.rate, words=100, gaps_ms=(0, 10, 200), think_ms=8000)
    for frozen, twice in ((False, False), (True, False), (False, True)):
        url = await bench.database.fresh()
        async with bench.gateway(DATABASE_URL=url, DRAIN_S=str(DRAIN_S)) as server, Crowd(lambda: server.url, manner) as crowd:
            with bench.database.frozen() if frozen else nullcontext():
                took = await _end_under_load(server, crowd, twice=twice)
            await server.start()
            await settled(server.url)
            comparison = await compared(url, crowd)
        cut = sum(one.end == "cut" and one.status is not None for one in crowd.asked)
        name = "SIGTERM and SIGTERM" if twice else f"SIGTERM{', database frozen' if frozen else ''}"
        codes = ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in crowd.asked if one.code).items())
        note = f"ended after {took:.2f} s of DRAIN_S={DRAIN_S:g}; {cut} replies without a last event; {codes}"
        bench.add(
            Row(name, comparison, note),
            (twice or not cut, f"{cut} replies have no last event"),
            (took < (LAST_WORDS_S if twice else DRAIN_S + LAST_WORDS_S), "it took too long to end"),
        )


async def rolling(bench: Bench) -> None:
    """Two replicas behind nginx, replaced one after another, while nobody asks twice but phones whose connections break."""
    bench.provider.log.clear()
    url, rounds = await bench.database.fresh(), bench.flags.rounds
    manner = Manner(rate=bench.flags.rate, words=30, gaps_ms=(0, 3, 10, 40), think_ms=500)
    with running_redis() as redis, database_for(url) as pooled:
        async with fleet(
            _open_folder(bench.place), bench.provider.base_url, DATABASE_URL=pooled, REDIS_URL=redis.url
        ) as replicas:
            async with Crowd(lambda: replicas.url, manner) as crowd:
                phones = await endure_replacing(replicas, crowd, rounds, bench.flags.phones)
            comparison = await compared(url, crowd)
    connections = sum(phone.tried for phone in phones)
    note = f"{_rate(crowd)}; {len(phones)} more over {connections} connections; {bench.provider.log.total} upstream calls"
    bench.add(
        Row(f"{rounds} rolling replacements", comparison, note, tuple(one.ended - one.begun for one in crowd.asked)),
        _all_done(crowd),
        (not (wrong := await wrong_with(phones, url)), texts(wrong)),
        (bench.provider.log.total == len(crowd.asked) + len(phones), "the provider was not asked once for each turn"),
    )


async def _end_under_load(server: Server, crowd: Crowd, *, twice: bool) -> float:
    """Ask for five seconds, then end the server; how long its end took from the (last) signal on (seconds)."""
    took = 0.0

    async def end() -> None:
        nonlocal took
        await asyncio.sleep(5)
        server.send(signal.SIGTERM)
        if twice:
            await asyncio.sleep(1)
            server.send(signal.SIGTERM)
        begun = time.monotonic()
        assert await server.ended() == int(twice)
        took = time.monotonic() - begun

    await crowd.ask_during(end())
    return took


SCENARIOS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "outages": outages,
    "wire": broken_wire,
    "kills": kills,
    "both": kills_of_both,
    "hang-ups": hang_ups,
    "shutdown": shutdown,
    "rolling": rolling,
}


def _open_folder(parent: Path) -> Path:
    """A folder that PostgreSQL's own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir=parent))
    folder.chmod(0o755)
    return folder


def _rate(crowd: Crowd) -> str:
    """How fast the crowd has asked."""
    begun = [one.begun for one in crowd.asked]
    return f"{len(begun) / (max(begun) - min(begun)):.0f} turns/s"


def _all_done(crowd: Crowd) -> tuple[bool, str]:
    """That nobody has noticed anything."""
    return all(one.end == "done" for one in crowd.asked), "not every chat was answered"


def _quantiles(seconds: tuple[float, ...]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98], max(seconds)


async def main() -> int:
    """Run the scenarios and print their table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", default="", help=f"one of {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=60, help="how long the database is away")
    parser.add_argument("--rate", type=float, default=50, help="turns a second")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=1000, help="how many hang up")
    parser.add_argument("--phones", type=int, default=6, help="how many read at once on connections that break (rolling)")
    parser.add_argument("--rounds", type=int, default=6, help="how often both replicas are replaced")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    place = _open_folder(Path("/tmp"))
    database = Database(place, {"max_connections": "60"})
    provider = await simulator.start_simulator()
    bench = Bench(place, database, provider, flags)
    try:
        await database.start()
        await database.prepare()
        for name, scenario in SCENARIOS.items():
            if flags.only in ("", name):
                await scenario(bench)
        print("\n| scenario | clients saw | the log has | spooled | wrong | seconds p50 / p99 / max | |")
        print("| --- | --- | --- | --- | --- | --- | --- |", *(row.line() for row in bench.rows), sep="\n")
    finally:
        await provider.close()
        await database.stop()
        shutil.rmtree(place)
    return int(any(row.comparison.wrong for row in bench.rows))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
