"""Brings a database to the schema in `schema/`: numbered SQL files, each applied once, in order."""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from gateway.store.dsn import Dsn
from gateway.store.failures import DATABASE_ERRORS, is_missing_schema, sqlstate, translated
from gateway.store.pool import Connection, connect, transaction
from gateway.store.queries import QUERIES

SCHEMA_DIR: Final = Path(__file__).parents[2] / "schema"
_ANSWER_S = 5.0
_APPLY_S = 3600.0
# While we wait for an older server's open transaction, its other queries queue up behind us: for a moment at a time, and longer
# only where it leaves no gap for long.
_LOCK_WAIT: Final = "300ms"
_LAST_LOCK_WAIT: Final = "10s"
_POLITE_TRIES: Final = 60
_PAUSE_S: Final = 0.2
_LOCKED: Final = "55P03"
_STEP: Final = "\n-- step\n"
_DEFECTS = ("0A", "22", "23", "42")


class MigrationError(Exception):
    """A migration that the database refuses: one line for the operator. Nothing of the file was applied."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    steps: list[str]


async def migrate(dsn: Dsn, schema_dir: Path = SCHEMA_DIR) -> list[str]:
    """Apply what is missing and return the names, oldest first. Raises `StoreUnavailable` and `MigrationError`.

    Each file has its own transaction under one lock, so replicas may start together; transactions and the locks within them
    are all it asks of a connection pooler. A line `-- step` in a file parts it into several transactions, each of which may be
    repeated: one that locks a single table of the older server's cannot wait in a ring with it, whatever the order in which that
    one takes its own locks. Applying may take long (an index on a large older database); looking whether
    there is anything to apply is quick or fails.
    """
    try:
        # Each statement is sent once, and poolers in transaction mode lose named ones.
        connection = await connect(dsn, _ANSWER_S, statement_cache=False)
        try:
            async with asyncio.timeout(_ANSWER_S):
                applied = await _applied(connection)
            missing = [file for file in _files(schema_dir) if file.name not in applied]
            async with asyncio.timeout(_APPLY_S):
                return [file.name for file in missing if await _apply(connection, file)]
        finally:
            connection.terminate()
    except DATABASE_ERRORS as error:
        raise translated(error) from error


def _files(schema_dir: Path) -> list[_File]:
    return [_File(path.stem, path.read_text(encoding="utf-8").split(_STEP)) for path in sorted(schema_dir.glob("[0-9]*.sql"))]


async def _applied(connection: Connection) -> set[str]:
    try:
        return {row["version"] for row in await connection.fetch(QUERIES["applied_migrations"])}
    except asyncpg.PostgresError as error:
        if is_missing_schema(error):
            return set()
        raise


async def _apply(connection: Connection, file: _File) -> bool:
    """Apply one file unless another replica just did."""
    try:
        for number, step in enumerate(file.steps, 1):
            if not await _politely(connection, file.name, step, last=number == len(file.steps)):
                return False
        return True
    except asyncpg.PostgresError as error:
        if sqlstate(error)[:2] in _DEFECTS:
            raise MigrationError(f"schema/{file.name}.sql: the database refuses it: {error}") from error
        raise


async def _politely(connection: Connection, name: str, step: str, *, last: bool) -> bool:
    """One step, in the first gap that is long enough; False: its file was applied meanwhile."""
    for _ in range(_POLITE_TRIES):
        try:
            return await _try(connection, name, step, _LOCK_WAIT, last=last)
        except asyncpg.PostgresError as error:
            if sqlstate(error) != _LOCKED:
                raise
        await connection.execute("ROLLBACK")
        # Never in step with whoever is in the way.
        await asyncio.sleep(_PAUSE_S * (1 + secrets.randbelow(100) / 100))
    return await _try(connection, name, step, _LAST_LOCK_WAIT, last=last)


async def _try(connection: Connection, name: str, step: str, lock_wait: str, *, last: bool) -> bool:
    async with transaction(connection):
        await connection.execute(QUERIES["lock_migrations"])
        await connection.execute(QUERIES["create_migrations"])
        if name in await _applied(connection):
            return False
        await connection.execute(f"SET LOCAL lock_timeout = '{lock_wait}'")
        await connection.execute(step)
        if last:
            await connection.execute(QUERIES["migration_applied"], name)
        return True
