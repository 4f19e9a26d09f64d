"""Fixtures of this room."""

from collections.abc import AsyncIterator

import pytest

from tests.access.databases import OwnDatabase


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[OwnDatabase]:
    """A database with the schema, and nothing in it."""
    database = OwnDatabase(database_url)
    yield database
    await database.close()
