"""A gateway that is killed again and again while a crowd asks, and started again each time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from tests.faults.crowd import Crowd
from tests.faults.ledger import Comparison, compared, settled
from tests.faults.server import Server

Blow = Callable[[Server], Awaitable[None]]


async def kill_it(server: Server) -> None:
    """The gateway dies at once, and is started again."""
    await server.kill()
    await server.start()


async def endure_kills(
    server: Server, url: str, crowd: Crowd, kills: int, chance: random.Random, *, longest_s: float, blow: Blow = kill_it
) -> Comparison:
    """Kill it so often, each time a random while (at most `longest_s`) after it began to serve; compare when all is settled."""

    async def killing() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.0, longest_s))
            await blow(server)
        await asyncio.sleep(chance.uniform(0.0, longest_s))

    await crowd.ask_during(killing())
    await settled(server.url)
    return await compared(url, crowd.asked)


async def kill_its_database(server: Server) -> None:
    """The embedded database dies; the gateway lives and brings it back."""
    postmaster_of(server.data).kill()
    await asyncio.sleep(0)


async def kill_both(server: Server) -> None:
    """Both die."""
    postmaster_of(server.data).kill()
    await kill_it(server)


def postmaster_of(data: Path) -> psutil.Process:
    """The embedded database's first process."""
    return psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))


def kill_while_it_starts(chance: random.Random) -> Blow:
    """The gateway dies, and its successor before it serves; then it is started again."""

    async def blow(server: Server) -> None:
        await server.kill()
        await server.launch()
        await asyncio.sleep(chance.uniform(0.0, 2.0))
        await kill_it(server)

    return blow
