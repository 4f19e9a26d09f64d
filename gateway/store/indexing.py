"""Takes messages into what is searched, behind the writer: what was just written, and a log that was there before. Then counts
days that are over."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.store.base import StoreUnavailable
from gateway.store.days import count_one
from gateway.store.pool import Connection, transaction
from gateway.store.queries import QUERIES

log = logging.getLogger(__name__)

T = TypeVar("T")
_PORTION: Final = 200
_MOST_BYTES: Final = 500_000
"""As much as PostgreSQL takes in in a fifth of a second: far below the time that a statement has."""
_IDLE_S: Final = 5.0
_REST: Final = 3.0
"""So many times as long as a portion took, PostgreSQL is left to others."""

Run = Callable[[Callable[[Connection], Awaitable[bool]]], Awaitable[bool]]
"""`PostgresStore.run`."""


async def take_in(connection: Connection, most: int, *, wait: bool) -> bool:
    """Take in at most so many messages, within a transaction; whether there may be more. While another process is at it: wait
    for it, or leave it to that one."""
    if wait:
        await connection.execute(QUERIES["search.lock"])
    elif not await connection.fetchval(QUERIES["search.try_lock"]):
        return False
    row = await connection.fetchrow(QUERIES["search.take_in"], most, _MOST_BYTES)
    return bool(row["more"])


class SearchIndex:
    """Keeps taking in for as long as the process runs. `run` does work on a connection of the store."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._forever())

    async def close(self) -> None:
        """End, leaving the rest for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _forever(self) -> None:
        pause = _IDLE_S
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            more = await self._portion()
            pause = _REST * (loop.time() - began) if more else _IDLE_S

    async def _portion(self) -> bool:
        try:
            return await self._run(_portion)
        except StoreUnavailable:
            log.debug("the search's index waits for the database")
        except Exception:
            log.exception("messages cannot be taken into the search")
        return False


async def _portion(connection: Connection) -> bool:
    async with transaction(connection):
        more = await take_in(connection, _PORTION, wait=False)
    return more or await count_one(connection)
