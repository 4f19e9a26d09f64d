"""A real PostgreSQL for every test that asks for one: one server a run, a database of its own for each test."""

import asyncio
import gc
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.migrate import migrate
from gateway.store.postgres import PostgresStore
from tests.browsing import browser
from tests.redis_server import redis_server
from tests.running import gateway, simulator, start_gateway

__all__ = ["browser", "gateway", "redis_server", "simulator", "start_gateway"]

# A busy machine is no failure, and what failed once can be tried again. CI tries the same examples each time; by hand there are
# new ones, and more of them with --hypothesis-profile=thorough.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ, print_blob=True)
settings.register_profile("untimed", untimed)
settings.register_profile("thorough", untimed, max_examples=5000, derandomize=False)
settings.load_profile("untimed")

# What is lost with the machine need not survive in tests.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200", "max_wal_size": "128MB"}
TEMPLATE = "gateway_template"
MEMORY_BYTES = 2 * 1024**3


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--turns=1000` asks for more than a usual run has time for."""
    parser.addoption("--turns", type=int, default=None, help="how many turns are cut at random, or counted")


@pytest.fixture
def turns(request: pytest.FixtureRequest) -> int | None:
    """How many turns were asked for on the command line."""
    wanted: int | None = request.config.getoption("--turns", None)
    return wanted


def pytest_collection() -> None:
    """Garbage is not looked for among thousands of tests that all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor later, while they run."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a server's own database; `database_url` is what tests of the log want."""
    home = Path(tempfile.mkdtemp(prefix="gw-", dir=quickest_folder()))
    home.chmod(0o755)
    server = EmbeddedPostgres(home, FAST)
    try:
        url = server.start()
        with administrated(url):
            asyncio.run(_make_template(url))
            yield url
    finally:
        server.stop()
        shutil.rmtree(home)


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with the schema, and nothing in it."""
    async with new_database(postgres_url, TEMPLATE) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with nothing in it at all."""
    async with new_database(postgres_url, "template0") as url:
        yield url


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    """The log in a database of the test's own. It has the patience that a machine busy with other tests asks for."""
    opened = PostgresStore(parse_dsn(database_url), command_timeout_s=30)
    yield opened
    await opened.close()


def quickest_folder() -> str:
    """Memory, where there is enough of it to spare, else a disk."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES else "/tmp"


@contextmanager
def administrated(url: str) -> Iterator[None]:
    """While it lasts, `new_database` makes databases there."""
    _administrators[url] = Administrator(url)
    try:
        yield
    finally:
        _administrators.pop(url).close()


@asynccontextmanager
async def new_database(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A database copied from another, gone at the end whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    # Copying files takes half the time of logging pages.
    administrator = _administrators[postgres_url]
    await administrator.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield renamed(postgres_url, name)
    finally:
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


def renamed(url: str, database: str) -> str:
    """The address of another database of the same server."""
    return url.replace("@/postgres?", f"@/{database}?")


async def _make_template(url: str) -> None:
    await _administrators[url].execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    await migrate(parse_dsn(renamed(url, TEMPLATE)))


class Administrator:
    """One connection for the whole run, in a loop of its own: connecting takes half as long as copying a database does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="administrator", daemon=True)
        self._thread.start()

    async def execute(self, statement: str) -> None:
        """Have it done; called from any loop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._execute(statement), self._loop))

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            asyncio.run_coroutine_threadsafe(self._connection.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _execute(self, statement: str) -> None:
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url)
            await self._connection.execute(statement)


_administrators: dict[str, Administrator] = {}
