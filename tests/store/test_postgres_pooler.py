"""The log behind a connection pooler that gives every transaction another connection."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.store.base import ConversationFilter, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.migrate import SCHEMA_DIR, migrate
from gateway.store.postgres import PostgresStore
from tests.store.pooler import Pooler, pooled
from tests.store.samples import rich_turn, turn

ADMIN = Viewer(None, everything=True)


@pytest.fixture
async def pooler(empty_database_url: str) -> AsyncIterator[tuple[str, Pooler]]:
    parts = urlsplit(empty_database_url)
    folder = parse_qs(parts.query)["host"][0]
    async with pooled(f"{folder}/.s.PGSQL.5432", parts.path[1:]) as opened:
        yield opened


@pytest.mark.parametrize("parameters", ["", "?pgbouncer=true"])
async def test_everything_works_through_a_pooler(pooler: tuple[str, Pooler], parameters: str) -> None:
    url, counter = pooler
    store = PostgresStore(parse_dsn(url + parameters))
    try:
        for number in range(6):
            record = rich_turn() if number == 0 else turn(f"next-{number}")
            await store.put([record])
            found = await store.turn(record.begun.turn_id)
            assert found is not None
            assert found.record == record
        await asyncio.gather(*(store.put([turn(f"many-{number}")]) for number in range(12)))
        assert len((await store.conversations(ADMIN, ConversationFilter(q="كِتاب"))).conversations) == 18
        assert await store.delete_conversation("conv-1", ADMIN)
        assert await store.history("conv-1", ADMIN, 10) == ()
        assert counter.transactions > 30
    finally:
        await store.close()


async def test_migrations_run_through_a_pooler(pooler: tuple[str, Pooler]) -> None:
    dsn = parse_dsn(pooler[0])
    first, second = await asyncio.gather(migrate(dsn), migrate(dsn))
    assert sorted(first + second) == sorted(path.stem for path in SCHEMA_DIR.glob("*.sql"))
    assert await migrate(dsn) == []
