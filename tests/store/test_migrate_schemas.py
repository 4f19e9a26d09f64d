"""Databases where the gateway may do little: a role without rights, in a schema other than public."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from gateway.store.base import ConversationFilter, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.migrate import SCHEMA_DIR, migrate
from gateway.store.postgres import PostgresStore
from tests.store.samples import rich_turn, turn

ADMIN = Viewer(None, everything=True)
ROLE = "gateway_tenant"


@pytest.fixture
async def administrator(empty_database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(empty_database_url)
    await opened.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN")
    await opened.execute(f"CREATE SCHEMA tenant AUTHORIZATION {ROLE}; REVOKE ALL ON SCHEMA public FROM PUBLIC")
    yield opened
    await opened.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    await opened.close()


async def test_a_schema_and_a_role_of_its_own(administrator: Any, empty_database_url: str) -> None:
    dsn = parse_dsn(empty_database_url.replace("//postgres@", f"//{ROLE}@") + "&options=-csearch_path%3Dtenant")
    first, second = await asyncio.gather(migrate(dsn), migrate(dsn))
    assert sorted(first + second) == sorted(path.stem for path in SCHEMA_DIR.glob("*.sql"))
    store = PostgresStore(dsn)
    try:
        await store.put([rich_turn(), turn("next", caller="user:1")])
        found = await store.conversations(ADMIN, ConversationFilter(q="كتاب"))
        assert [row["id"] for row in found.conversations] == ["next", "conv-1"]
        assert await store.delete_conversation("next", ADMIN)
    finally:
        await store.close()
    # The older server, and an operator, need not have the schema in their path.
    await administrator.execute("INSERT INTO tenant.messages (conversation_id, role) VALUES ('conv-1', 'user')")
    await administrator.execute("DELETE FROM tenant.messages WHERE turn_id IS NULL")
