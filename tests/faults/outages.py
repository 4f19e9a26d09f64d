"""Ways to take a database away, and a crowd that goes on asking meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg

from tests.faults.crowd import Crowd
from tests.faults.database import Database, execute, name_of
from tests.faults.ledger import Comparison, compared, settled
from tests.faults.server import Server

Trouble = Callable[[Database, str], AbstractAsyncContextManager[None]]
"""Of a database's server and an address: away while the context lasts."""


@asynccontextmanager
async def stopped(database: Database, _: str) -> AsyncIterator[None]:
    """Connections are cut, and refused from then on."""
    await database.stop()
    try:
        yield
    finally:
        await database.start()


@asynccontextmanager
async def frozen(database: Database, _: str) -> AsyncIterator[None]:
    """Connections open and nobody answers."""
    with database.frozen():
        yield


@asynccontextmanager
async def cut(database: Database, url: str) -> AsyncIterator[None]:
    """Every connection is cut again and again, whatever runs on it."""

    async def cutting() -> None:
        while True:
            await database.cut(url)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(cutting())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled(), task.exception()


@asynccontextmanager
async def read_only(database: Database, url: str) -> AsyncIterator[None]:
    """Reads are answered, writes are not, as by a replica after a failover."""
    await execute(database.admin_url, f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = on")
    await database.cut(url)
    try:
        yield
    finally:
        await execute(database.admin_url, f"ALTER DATABASE {name_of(url)} RESET default_transaction_read_only")
        await database.cut(url)


@asynccontextmanager
async def crowded(database: Database, url: str) -> AsyncIterator[None]:
    """Others hold every connection that the server has."""
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(database.admin_url)
        stack.push_async_callback(admin.close)
        while await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name_of(url)):
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name_of(url))
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    connection = await asyncpg.connect(database.admin_url)
                    stack.push_async_callback(connection.close)
        yield


TROUBLES: Mapping[str, Trouble] = {"stopped": stopped, "frozen": frozen, "cut": cut, "read-only": read_only, "crowded": crowded}


@dataclass(frozen=True, slots=True)
class Outage:
    """What came of one: the comparison of a settled log with what clients saw, and how long each of them waited (seconds)."""

    comparison: Comparison
    seconds: tuple[float, ...]


async def endure(
    server: Server, url: str, crowd: Crowd, away: AbstractAsyncContextManager[None], seconds: float, around_s: float = 1.0
) -> Outage:
    """Ask on while the database is away for so long, and for a moment before and after."""

    async def meanwhile() -> None:
        await asyncio.sleep(around_s)
        async with away:
            await asyncio.sleep(seconds)
        await asyncio.sleep(around_s)

    await crowd.ask_during(meanwhile())
    await settled(server.url)
    return Outage(await compared(url, crowd), tuple(one.ended - one.begun for one in crowd.asked))
