"""docs/log.md names the columns there are, and its queries run as printed."""

import re

import asyncpg
import pytest

from gateway.store.postgres import PostgresStore
from tests.documents import ROOT
from tests.store.samples import rich_turn, turn

TEXT = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
SQL = re.findall(r"^```sql\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
TABLES = {
    name: re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
    for name, body in re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE)
}


@pytest.mark.parametrize("table", TABLES)
async def test_the_columns_are_those_of_the_table(table: str, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    found = await connection.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = $1", table)
    await connection.close()
    assert sorted(row["column_name"] for row in found) == sorted(TABLES[table])


async def test_the_queries_run(store: PostgresStore, database_url: str) -> None:
    await store.put([rich_turn(), turn("your-id")])
    assert len(SQL) == 7
    connection = await asyncpg.connect(database_url)
    for text in SQL:
        for statement in filter(str.strip, text.split(";")):
            await connection.fetch(statement)
    await connection.close()


async def test_the_indexes_exist(store: PostgresStore, database_url: str) -> None:
    await store.ping()
    connection = await asyncpg.connect(database_url)
    found = {row["indexname"] for row in await connection.fetch("SELECT indexname FROM pg_indexes")}
    await connection.close()
    assert set(re.findall(r"`(\w+_(?:idx|key))`", TEXT)) - {"idempotency_key"} <= found
