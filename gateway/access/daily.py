"""Questions a day: counted in PostgreSQL, exactly, across replicas.

A question that could not be counted when it was asked, because the database was away, is counted together with its turn, and
one that proves to cost nothing is given back with it: what a turn owes to the count lies wherever the turn lies (in the
journal, if need be), and reaches the database once.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from gateway.access.breaker import Breaker
from gateway.access.callers import Caller
from gateway.access.quota import OverLimit, Quota, whole_seconds
from gateway.access.sql import SQL, Database
from gateway.core.turn import TurnRecord
from gateway.store.base import Stored, StoreUnavailable

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_REMEMBERED: Final = 20_000
_MAX_PENDING: Final = 100_000
_BATCH: Final = 500
_RETRY_S: Final = 2.0
_KEPT_DAYS: Final = 40

_Key = tuple[str, date]


@dataclass(slots=True, eq=False)
class Reservation:
    """One question taken from a caller's day. `owed` is what the database's count of it lacks; `turn_id` the turn that will
    bring it there, as soon as that is known; `settled` once there is nothing left to do about it."""

    caller: str
    day: date
    quota: Quota
    counted: bool = True
    owed: int = 0
    turn_id: str | None = None
    settled: bool = False


class DailyLimits:
    """Limits of 0 are none. `start` and `close` frame the task that brings what is counted here to the database."""

    def __init__(
        self,
        database: Database,
        *,
        user_limit: int,
        key_limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._limits = {"user": user_limit, "key": key_limit}
        self._clock = clock
        self._breaker = Breaker()
        self._known: OrderedDict[_Key, int] = OrderedDict()
        self._pending: dict[_Key, int] = {}
        self._owed: dict[_Key, int] = {}
        self._open: dict[str, Reservation] = {}
        self._settling = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def limit_of(self, caller: Caller) -> int:
        """Questions a day for this caller, 0 for any number."""
        return self._limits.get(caller.kind, 0)

    async def reserve(self, caller: Caller) -> Reservation | None:
        """Take one question from today's; None when the caller has no limit. Raises `OverLimit` `daily_limit_reached`.

        When a connection dies at the wrong moment a question may be counted twice, never not at all.
        """
        limit = self.limit_of(caller)
        if not limit or caller.id is None:
            return None
        now = self._clock()
        key = caller.id, datetime.fromtimestamp(now, UTC).date()
        count, counted = await self._count(key, limit)
        reset_s = whole_seconds(_DAY_S - now % _DAY_S)
        if count is None:
            quota = Quota(limit, 0, reset_s)
            raise OverLimit("daily_limit_reached", f"All {limit} questions of today have been asked; more tomorrow.", quota)
        return Reservation(*key, Quota(limit, max(0, limit - count), reset_s), counted, 0 if counted else 1)

    def begun(self, reservation: Reservation, turn_id: str) -> None:
        """The question became a turn."""
        reservation.turn_id = turn_id
        self._open[turn_id] = reservation

    def refund(self, reservation: Reservation) -> None:
        """Give a question back that became no turn, or one that nothing is kept of; the database hears of it soon."""
        if self._settle_reservation(reservation) and reservation.counted:
            self._note((reservation.caller, reservation.day), -1)

    def forgive(self, reservation: Reservation) -> None:
        """The turn ended and cost nothing: the question is given back, in the database with the turn itself."""
        if not reservation.settled:
            reservation.owed -= 1
            _add(self._owed, (reservation.caller, reservation.day), -1)

    def stored(self, record: TurnRecord, place: Stored) -> None:
        """The database has a turn, and what it owed to the count; or nothing of it, as it was deleted meanwhile."""
        reservation = self._open.get(record.begun.turn_id)
        if reservation is None or not self._settle_reservation(reservation):
            return
        key = reservation.caller, reservation.day
        if place.message_id is None:
            if record.owed:
                self._note(key, record.owed)
        elif key in self._known:
            self._known[key] += record.owed

    async def used(self, caller_id: str) -> int:
        """Questions asked today. Raises `StoreUnavailable`."""
        key = caller_id, datetime.fromtimestamp(self._clock(), UTC).date()
        stored = await self._database.run(lambda connection: connection.fetchval(SQL["used"], *key))
        return max(0, (stored or 0) + self._here(key))

    async def settle(self) -> None:
        """Bring what was counted here to the database. Raises `StoreUnavailable`."""
        async with self._settling:
            while keys := list(self._pending)[:_BATCH]:
                await self._settle(keys)

    async def prune(self) -> None:
        """Forget the counts of long ago. Raises `StoreUnavailable`."""
        before = datetime.fromtimestamp(self._clock(), UTC).date() - timedelta(days=_KEPT_DAYS)
        await self._database.run(lambda connection: connection.execute(SQL["prune_usage"], before))

    def start(self) -> None:
        """Begin to settle in the background."""
        self._task = asyncio.get_running_loop().create_task(self._settle_for_ever(), name="daily-limits")

    async def close(self) -> None:
        """Stop, settling what can be settled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            await self.settle()
        except StoreUnavailable:
            log.warning("%d daily counts could not be settled: the database is away", len(self._pending))

    async def _count(self, key: _Key, limit: int) -> tuple[int | None, bool]:
        """The count with this question in it, None when it would be over the limit; and whether the database has it."""
        if self._breaker.lets_try():
            try:
                count = await self._count_stored(key, limit)
            except StoreUnavailable:
                if self._breaker.failed():
                    log.warning("daily limits are counted by each process alone: the database is away")
            else:
                self._breaker.worked()
                return count, True
        count = self._known.get(key, 0) + self._here(key) + 1
        if count > limit:
            return None, False
        _add(self._owed, key, 1)
        return count, False

    def _here(self, key: _Key) -> int:
        """What is known here and not yet in the database."""
        return self._pending.get(key, 0) + self._owed.get(key, 0)

    async def _count_stored(self, key: _Key, limit: int) -> int | None:
        if key in self._pending:
            async with self._settling:
                await self._settle([key])
        # Turns on their way to the database have taken their place already.
        owed = self._owed.get(key, 0)
        if limit <= owed:
            return None
        count: int | None = await self._database.run(lambda connection: connection.fetchval(SQL["reserve"], *key, limit - owed))
        self._remember(key, limit - owed if count is None else count)
        return None if count is None else count + owed

    def _remember(self, key: _Key, count: int) -> None:
        self._known[key] = count
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _note(self, key: _Key, delta: int) -> None:
        if key not in self._pending and len(self._pending) >= _MAX_PENDING:
            log.error("too many daily counts wait for the database; one was dropped")
            return
        _add(self._pending, key, delta)
        self._wake.set()

    def _settle_reservation(self, reservation: Reservation) -> bool:
        """Let go of a reservation; False when that was done before."""
        if reservation.settled:
            return False
        reservation.settled = True
        if reservation.turn_id is not None:
            self._open.pop(reservation.turn_id, None)
        _add(self._owed, (reservation.caller, reservation.day), -reservation.owed)
        return True

    async def _settle(self, keys: Iterable[_Key]) -> None:
        """A count stays pending until the database has it, so that nobody reserves without it meanwhile."""
        deltas = {key: self._pending[key] for key in keys if key in self._pending}
        if not deltas:
            return
        columns = [caller for caller, _ in deltas], [day for _, day in deltas], list(deltas.values())

        async def add(connection: Any) -> None:
            await connection.execute(SQL["settle"], *columns)

        await self._database.run(add)
        for key, delta in deltas.items():
            _add(self._pending, key, -delta)
            if key in self._known:
                self._known[key] += delta

    async def _settle_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.settle()
            except StoreUnavailable:
                self._wake.set()
                await asyncio.sleep(_RETRY_S)


def _add(counts: dict[_Key, int], key: _Key, delta: int) -> None:
    left = counts.get(key, 0) + delta
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)
