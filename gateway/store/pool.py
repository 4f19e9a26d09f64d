"""Connections to PostgreSQL, opened when they are needed and given up when they fail; every wait is bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from gateway.store.base import StoreUnavailable
from gateway.store.dsn import Dsn
from gateway.store.failures import DATABASE_ERRORS, is_refusal, is_transient, is_unknown_statement, translated, turns_away
from gateway.store.pulse import Pulse
from gateway.store.queries import QUERIES

T = TypeVar("T")
Connection = Any  # asyncpg.Connection, which has no types

_CLOSE_S = 0.5
_RESPITE_S = 0.1


async def connect(dsn: Dsn, timeout_s: float, *, statement_cache: bool) -> Connection:
    """Open one connection within `timeout_s` seconds. Raises one of `DATABASE_ERRORS`."""
    arguments = dict(dsn.arguments)
    settings = {"application_name": "gateway", **arguments.pop("server_settings", {})}
    return await asyncpg.connect(
        **arguments, timeout=timeout_s, server_settings=settings, statement_cache_size=100 if statement_cache else 0
    )


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """BEGIN and COMMIT around a block. One that fails leaves the transaction open, for whoever owns the connection to cut:
    a ROLLBACK would wait for a frozen server."""
    await connection.execute("BEGIN")
    yield
    await connection.execute("COMMIT")


@dataclass(slots=True, eq=False)
class _Link:
    connection: Connection
    statement_cache: bool


class Pool:
    """At most `size` connections. It needs no database to be made, and finds its way back after one that was away.

    asyncpg's own pool resets a connection after each use, a round trip that these statements do not need, and waits for a
    frozen server when it takes one back.
    """

    def __init__(self, dsn: Dsn, size: int, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._statement_cache = dsn.statement_cache
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Link] = []
        self._closed = False
        self._respite_until = 0.0
        self.pulse = Pulse(self._ask, timeout_s)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` on a connection, within `timeout_s` seconds, waiting for the connection included; while the database gives
        no sign of life, fail at once.

        `work` must be one that may run twice: it is repeated when the connection proves dead, has lost a race, or does not
        know its prepared statements. Raises `StoreUnavailable` and `StoreRefused`.
        """
        self.pulse.check()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                with self.pulse.waiting(deadline):
                    async with self._slots:
                        return await self._tried(work)
        except Exception as error:
            failure = translated(error)
            if failure is error:
                raise
            raise failure from error

    def hurry(self, timeout_s: float) -> None:
        """Wait no longer than this for anything from now on."""
        self._timeout_s = min(self._timeout_s, timeout_s)
        self.pulse.hurry(timeout_s)

    async def close(self) -> None:
        """Close the idle connections, bounded; those at work are closed when their work ends."""
        self._closed = True
        if self.pulse.silent:
            self._drop_idle()
        await self.pulse.close()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(link.connection.close(timeout=_CLOSE_S) for link in idle), return_exceptions=True)

    async def _tried(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await self._once(work)
        except DATABASE_ERRORS as error:
            if is_unknown_statement(error):
                self._statement_cache = False
            elif not is_transient(error):
                raise
        self._drop_idle()
        return await self._once(work)

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        link = await self._take()
        usable = False
        try:
            result = await work(link.connection)
            usable = True
            self.pulse.heard()
            return result
        except asyncpg.PostgresError as error:
            usable = is_refusal(error)
            self.pulse.heard()
            raise
        finally:
            self._give_back(link, usable=usable)

    async def _take(self) -> _Link:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        while self._idle:
            link = self._idle.pop()
            if not link.connection.is_closed():
                return link
        cached = self._statement_cache
        return _Link(await self._connected(cached), cached)

    async def _connected(self, cached: bool) -> Connection:
        """A server that turned somebody away is left in peace for a moment: chats come by the hundred, and each attempt costs
        it a process."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._respite_until:
            raise StoreUnavailable("the database takes no connections")
        try:
            return await connect(self._dsn, self._timeout_s, statement_cache=cached)
        except DATABASE_ERRORS as error:
            if turns_away(error):
                self._respite_until = loop.time() + _RESPITE_S
            raise

    def _give_back(self, link: _Link, *, usable: bool) -> None:
        connection = link.connection
        if connection.is_closed():
            return
        stale = self._closed or link.statement_cache != self._statement_cache
        if stale or not usable or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(link)

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for link in idle:
            link.connection.terminate()

    async def _ask(self, seconds: float) -> None:
        """Ask something trivial on a fresh connection: the others may all be waiting. See `Pulse`."""
        async with asyncio.timeout(seconds):
            connection = await connect(self._dsn, seconds, statement_cache=False)
            try:
                await connection.fetchval(QUERIES["ping"])
            finally:
                connection.terminate()
