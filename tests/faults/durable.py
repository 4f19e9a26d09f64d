"""Fixtures of durability tests, which share a database server; those of one file share a loop."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

import simulator as stand_in
from tests.conftest import quickest_folder
from tests.faults.database import KILLABLE, Database
from tests.faults.server import Server

Serve = Callable[..., Awaitable[Server]]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir=quickest_folder()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database(place: Path) -> Iterator[Database]:
    """A PostgreSQL that may be taken away."""
    server = Database(place, KILLABLE)

    async def begin() -> None:
        await server.start()
        await server.prepare()

    asyncio.run(begin())
    yield server
    asyncio.run(server.stop())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[stand_in.Simulator]:
    """Providers that answer as questions tell them to."""
    running = await stand_in.start_simulator()
    yield running
    await running.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(database: Database) -> str:
    """The address of a log."""
    return await database.fresh()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serve(provider: stand_in.Simulator, place: Path) -> AsyncIterator[Serve]:
    """Starts gateways, each in a folder of its own; keyword arguments are settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: str) -> Server:
            folder = Path(tempfile.mkdtemp(prefix="g-", dir=place))
            folder.chmod(0o755)
            server = Server(folder, provider.base_url, settings)
            stack.push_async_callback(server.close)
            await server.start()
            return server

        yield start
