"""The log in PostgreSQL."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

from gateway.core.messages import KeptState, Message
from gateway.core.turn import TurnRecord
from gateway.store import claims, deletions, listing, reads, reports, statistics
from gateway.store.base import Claim, ConversationFilter, Page, Stored, StoredTurn, StoreUnavailable, Viewer
from gateway.store.dsn import Dsn
from gateway.store.failures import is_missing_schema
from gateway.store.migrate import MigrationError, migrate
from gateway.store.pool import Connection, Pool
from gateway.store.pulse import Pulse
from gateway.store.queries import QUERIES
from gateway.store.rows import Row, owed_counts, put_arguments, put_statement

T = TypeVar("T")

_EXPIRE_AT_ONCE: Final = 50
_HURRIED_S: Final = 0.5
_DAY_MS: Final = 86_400_000
_OTHER_CONVERSATION: Final = uuid.UUID("0b0f0f5e-6a1c-5c57-9f0e-2f6f3c1c8a11")


class PostgresStore:
    """A `Store`, a `ClaimStore` and `Reports`. Connects when it is first asked something, prepares the schema then, and finds
    its way back by itself when the database was away or was replaced. Belongs to one event loop; `close` it there.

    `on_charged` hears where each turn lies that its caller's daily limit was charged for, `on_spent` (None: what turns cost is
    added up nowhere) where each lies that has a cost; `caught_up` tells whether
    a conversation's turns are all here: its history would have a hole otherwise."""

    def __init__(self, dsn: Dsn, *, pool_size: int = 5, command_timeout_s: float = 5.0) -> None:
        self._dsn = dsn
        self._timeout_s = command_timeout_s
        self._pool = Pool(dsn, pool_size, command_timeout_s)
        self._migration: asyncio.Task[list[str]] | None = None
        self._migrated = False
        self.on_charged: Callable[[TurnRecord, Stored], None] = _ignore
        self.on_spent: Callable[[TurnRecord, Stored], None] | None = None
        self.caught_up: Callable[[str], Awaitable[bool]] = _always

    async def prepare(self) -> None:
        """Bring the schema up to date, however long it takes. Raises `StoreUnavailable` and `MigrationError`."""
        await asyncio.shield(self._migrating())

    def hurry(self) -> None:
        """The process ends: no call takes longer than a moment from now on."""
        self._timeout_s = min(self._timeout_s, _HURRIED_S)
        self._pool.hurry(_HURRIED_S)

    async def close(self) -> None:
        """Give up all connections, within a few seconds."""
        if self._migration is not None:
            self._migration.cancel()
            await asyncio.wait({self._migration})
        await self._pool.close()

    async def put(self, records: Sequence[TurnRecord]) -> list[Stored]:
        """See `Store.put`. A turn of another caller's conversation goes, in a second statement, into a conversation of its
        own, whose id follows from the turn's."""
        stored = await self._put(records)
        foreign = [record for record, place in zip(records, stored, strict=True) if place is None]
        moved = iter(await self._put([_in_own_conversation(record) for record in foreign]) if foreign else ())
        places = [_known(next(moved) if place is None else place) for place in stored]
        for record, place in zip(records, places, strict=True):
            if record.begun.charged_on is not None:
                self.on_charged(record, place)
            if self.on_spent is not None and record.ended.cost_usd:
                self.on_spent(record, place)
        return places

    async def access(self, conversation_id: str, caller: str | None) -> bool:
        """See `Store.access`."""
        return await self.run(lambda connection: reads.may_add(connection, conversation_id, caller))

    async def history(self, conversation_id: str, viewer: Viewer, limit: int) -> tuple[Message, ...]:
        """See `Store.history`."""
        if not await self.caught_up(conversation_id):
            raise StoreUnavailable("turns of the conversation are on their way from the journal")
        return await self.run(lambda connection: reads.history(connection, conversation_id, viewer, limit))

    async def states(self, conversation_id: str, call_ids: Sequence[str]) -> Mapping[str, KeptState]:
        """See `Store.states`."""
        return await self.run(lambda connection: reads.states(connection, conversation_id, call_ids))

    async def issued(self, conversation_id: str, caller: str | None) -> tuple[str, ...]:
        """See `Store.issued`."""
        return await self.run(lambda connection: reads.issued(connection, conversation_id, caller))

    async def turn(self, turn_id: str) -> StoredTurn | None:
        """See `Store.turn`."""
        return await self.run(lambda connection: reads.turn(connection, turn_id))

    async def conversations(self, viewer: Viewer, wanted: ConversationFilter) -> Page:
        """See `Store.conversations`."""
        return await self.run(lambda connection: listing.conversations(connection, viewer, wanted, self._timeout_s))

    async def conversation(self, conversation_id: str, viewer: Viewer) -> dict[str, Any] | None:
        """See `Store.conversation`."""
        return await self.run(lambda connection: listing.conversation(connection, conversation_id, viewer))

    async def delete_conversation(self, conversation_id: str, viewer: Viewer) -> bool:
        """See `Store.delete_conversation`."""
        now_ms = time.time_ns() // 1_000_000
        return await self.run(lambda connection: deletions.delete(connection, conversation_id, viewer, now_ms))

    async def claim(self, caller: str | None, key: str, wanted: Claim, instead_of: str | None = None) -> Claim:
        """See `ClaimStore.claim`."""
        return await self.run(lambda connection: claims.claim(connection, caller, key, wanted, instead_of))

    async def claimed(self, caller: str | None, key: str) -> Claim | None:
        """See `ClaimStore.claimed`."""
        return await self.run(lambda connection: claims.claimed(connection, caller, key))

    async def unclaim(self, caller: str | None, key: str, turn_id: str) -> None:
        """See `ClaimStore.unclaim`."""
        await self.run(lambda connection: claims.unclaim(connection, caller, key, turn_id))

    async def expire(self, days: int) -> int:
        """Delete conversations without activity for so many days, in small batches; returns how many."""
        deleted = 0
        before_ms = time.time_ns() // 1_000_000 - days * _DAY_MS
        while rows := await self.run(lambda connection: connection.fetch(QUERIES["expired"], before_ms, _EXPIRE_AT_ONCE)):
            for row in rows:
                deleted += await self._expire(row["id"], before_ms)
        return deleted

    async def _expire(self, conversation_id: str, before_ms: int) -> bool:
        return await self.run(lambda connection: deletions.delete_silent(connection, conversation_id, before_ms))

    async def forget_graves(self) -> None:
        """Forget what was deleted so long ago that nothing older can come any more."""
        await self.run(deletions.forget_graves)

    async def statistics(self, since: datetime) -> dict[str, Any]:
        """See `Store.statistics`."""
        return await self.run(lambda connection: statistics.statistics(connection, since))

    async def timeline(self, since: datetime, step_s: int) -> list[dict[str, Any]]:
        """See `Reports.timeline`."""
        return await self.run(lambda connection: reports.timeline(connection, since, step_s))

    async def callers(self, since: datetime) -> list[dict[str, Any]]:
        """See `Reports.callers`."""
        return await self.run(lambda connection: reports.callers(connection, since))

    async def failures(
        self, limit: int, before: int | None = None, code: str | None = None, provider: str | None = None
    ) -> list[dict[str, Any]]:
        """See `Reports.failures`."""
        return await self.run(lambda connection: reports.failures(connection, limit, before, code, provider))

    async def turn_details(self, conversation_id: str) -> dict[str, dict[str, Any]]:
        """See `Reports.turn_details`."""
        return await self.run(lambda connection: reports.turn_details(connection, conversation_id))

    async def outlines(self, conversation_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `Reports.outlines`."""
        return await self.run(lambda connection: reports.outlines(connection, conversation_ids))

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self.run(lambda connection: connection.fetchval(QUERIES["ping"]))

    async def _put(self, records: Sequence[TurnRecord]) -> list[Stored | None]:
        """Where each record lies; None for one whose conversation is another caller's."""
        # Every process locks conversations in the same order, so that two statements cannot wait for each other.
        ordered = sorted(records, key=_conversation_id) if len(records) > 1 else records
        arguments = put_arguments(ordered)
        owed = owed_counts(ordered)
        statement = put_statement(counting=owed is not None, spending=self.on_spent is not None)
        more = () if owed is None else (owed,)
        rows = await self.run(lambda connection: connection.fetch(statement, *arguments, *more))
        message_ids: dict[str, int] = dict(rows)
        unwritten = [record for record in records if record.begun.turn_id not in message_ids]
        fates = await self._fates(unwritten) if unwritten else {}
        return [
            Stored(record.begun.conversation_id, message_ids[record.begun.turn_id])
            if record.begun.turn_id in message_ids
            else fates[record.begun.turn_id]
            for record in records
        ]

    async def _fates(self, records: Sequence[TurnRecord]) -> dict[str, Stored | None]:
        """What became of turns that were not written, by turn id."""
        begun = [record.begun for record in records]
        columns = list(zip(*((b.turn_id, b.conversation_id, b.caller, b.started_ms) for b in begun), strict=True))
        rows = await self.run(lambda connection: connection.fetch(QUERIES["unwritten"], *columns))
        return {str(row["turn_id"]): _fate(row) for row in rows}

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` on a connection, in bounded time; it may be repeated. Raises `StoreUnavailable` and `StoreRefused`."""
        if not self._migrated:
            await self._prepared(self._pool.pulse)
        try:
            return await self._pool.run(work)
        except StoreUnavailable as error:
            if error.__cause__ is not None and is_missing_schema(error.__cause__):
                self._migrated = False
            raise

    async def _prepared(self, pulse: Pulse) -> None:
        """Wait for the schema no longer than for any other answer of the database."""
        pulse.check()
        task = self._migrating()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                with pulse.waiting(deadline):
                    await asyncio.wait({task})
        except TimeoutError:
            raise StoreUnavailable("the schema is still being prepared") from None
        try:
            task.result()
        except MigrationError as error:
            raise StoreUnavailable(str(error)) from error

    def _migrating(self) -> asyncio.Task[list[str]]:
        if self._migration is None or (self._migration.done() and not self._migrated):
            self._migration = asyncio.create_task(migrate(self._dsn))
            self._migration.add_done_callback(self._migration_ended)
        return self._migration

    def _migration_ended(self, task: asyncio.Task[list[str]]) -> None:
        self._migrated = not task.cancelled() and task.exception() is None


def _ignore(_: TurnRecord, __: Stored) -> None:
    pass


async def _always(_: str) -> bool:
    return True


def _conversation_id(record: TurnRecord) -> str:
    return record.begun.conversation_id


def _in_own_conversation(record: TurnRecord) -> TurnRecord:
    """The record under a conversation id that follows from its turn id, so that a repeat finds it again."""
    own = str(uuid.uuid5(_OTHER_CONVERSATION, record.begun.turn_id))
    return replace(record, begun=replace(record.begun, conversation_id=own))


def _known(place: Stored | None) -> Stored:
    if place is None:
        raise StoreUnavailable("the conversation changed hands while a turn was written to it")
    return place


def _fate(row: Row) -> Stored | None:
    if row["id"] is not None:
        return Stored(row["stored_in"], row["id"])
    if row["deleted"]:
        return Stored(row["conversation_id"], None)
    if row["foreign_conversation"]:
        return None
    raise StoreUnavailable("the conversation changed hands while a turn was written to it")
