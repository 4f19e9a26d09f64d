"""A PostgreSQL of the tests' own, with a database for each test that asks."""

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.migrate import migrate
from gateway.store.pool import Pool
from gateway.store.postgres import PostgresStore

_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}
_numbers = itertools.count(1)


@dataclass(slots=True)
class TestDatabase:
    """An empty database with the schema in it."""

    __test__ = False

    url: str
    opened: list[Pool | PostgresStore] = field(default_factory=list)

    def pool(self, size: int = 5) -> Pool:
        pool = Pool(parse_dsn(self.url), size, 10)
        self.opened.append(pool)
        return pool

    def store(self) -> PostgresStore:
        store = PostgresStore(parse_dsn(self.url))
        self.opened.append(store)
        return store

    async def run(self, sql: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *values)
            return rows
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("pg")
    for parent in folder.parents:
        # The server does not run as root; the folders that pytest makes are closed to others.
        if parent.name.startswith(("pytest-", "pg")):
            parent.chmod(0o755)
    server = EmbeddedPostgres(folder / "data", _SETTINGS)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
async def empty_database(postgres: str) -> str:
    name = f"test_access_{next(_numbers)}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return postgres.replace("/postgres?", f"/{name}?")


@pytest.fixture
async def database(empty_database: str) -> AsyncIterator[TestDatabase]:
    await migrate(parse_dsn(empty_database))
    database = TestDatabase(empty_database)
    yield database
    for pool in database.opened:
        await pool.close()
