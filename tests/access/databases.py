"""A database of a test's own, and ways to reach it, or not."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.access.sql import Database
from gateway.store.base import StoreUnavailable
from gateway.store.dsn import parse_dsn
from gateway.store.pool import Pool


@dataclass(slots=True)
class OwnDatabase:
    """A database with the schema; `close` closes the pools opened here."""

    url: str
    pools: list[Pool] = field(default_factory=list)

    def pool(self) -> Pool:
        """Connections of one more replica."""
        pool = Pool(parse_dsn(self.url), 5, 10)
        self.pools.append(pool)
        return pool

    async def close(self) -> None:
        """Close the pools."""
        for pool in self.pools:
            await pool.close()

    async def rows(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """What stands in it."""
        connection = await asyncpg.connect(self.url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *values)
            return rows
        finally:
            await connection.close()


class Switch:
    """A database that can be taken away; `asked` is set by every answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.away = False
        self.asked = asyncio.Event()

    async def run(self, work: Any) -> Any:
        if self.away:
            raise StoreUnavailable("away")
        answer = await self._database.run(work)
        self.asked.set()
        return answer
