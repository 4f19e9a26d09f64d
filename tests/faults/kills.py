"""A gateway that is killed again and again while a crowd asks, and started again each time."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import psutil

from tests.faults.crowd import Crowd
from tests.faults.ledger import Comparison, compared, settled
from tests.faults.server import Server, postgres_in
from tests.store.writing import until

Blow = Callable[[Server], Awaitable[None]]


async def kill_it(server: Server) -> None:
    """The gateway dies at once, and is started again."""
    await server.kill()
    await server.start()


async def endure_blows(server: Server, url: str, crowd: Crowd, blows: Iterable[tuple[float, Blow]]) -> Comparison:
    """Strike as often as told, each time so many seconds after the last; compare when all is settled."""

    async def striking() -> None:
        for pause_s, blow in blows:
            await asyncio.sleep(pause_s)
            await blow(server)

    await crowd.ask_during(striking())
    await settled(server.url)
    return await compared(url, crowd)


async def kill_its_database(server: Server) -> None:
    """The embedded database dies, and the gateway brings it back."""
    killed = await _kill_postmaster(server.data)
    await until(lambda: postmaster_of(server.data) not in (None, killed))


async def kill_both(server: Server) -> None:
    """Both die."""
    await _kill_postmaster(server.data)
    await kill_it(server)


async def _kill_postmaster(data: Path) -> psutil.Process:
    """Kill the embedded database once it runs: it may be starting again."""
    await until(lambda: postmaster_of(data))
    found = postmaster_of(data)
    assert found is not None
    found.kill()
    return found


def postmaster_of(data: Path) -> psutil.Process | None:
    """The embedded database's first process, if it runs."""
    try:
        found = psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))
        return found if found in postgres_in(data) else None
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None


def kill_while_it_starts(chance: random.Random) -> Blow:
    """The gateway dies, and its successor before it serves; then it is started again."""

    async def blow(server: Server) -> None:
        await server.kill()
        await server.launch()
        await asyncio.sleep(chance.uniform(0.0, 2.0))
        await kill_it(server)

    return blow
