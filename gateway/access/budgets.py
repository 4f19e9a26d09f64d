"""Budgets: what may be spent in a UTC day, by everybody together and by each signed-in user.

The statement that stores a turn adds what it cost to the day's sums (`put.spending`), so that these survive restarts and hold
for all replicas; nothing is sent for it. What is known of them here is at most `FRESH_S` old when a turn begins, and holds
what turns cost that ended here and are still on their way. While the database is away the last that was known counts on.
"""

import asyncio
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from gateway.access.breaker import Breaker
from gateway.access.callers import Caller
from gateway.access.quota import whole_seconds
from gateway.access.sql import SQL, Database
from gateway.core.errors import GatewayError
from gateway.core.turn import TurnRecord
from gateway.store.base import Stored, StoreUnavailable

log = logging.getLogger(__name__)

FRESH_S: Final = 1.0
_EVERYBODY: Final = ""
_PATIENCE_S: Final = 1.0
_DAY_S: Final = 86_400
_REMEMBERED: Final = 20_000
_KEPT_DAYS: Final = 40

_Key = tuple[str, date]


@dataclass(slots=True)
class _Sum:
    """US dollars: `stored` as the database had it at `read_at` (monotonic seconds), `since` stored from here since then."""

    stored: float = 0.0
    since: float = 0.0
    read_at: float = float("-inf")
    reading: bool = False


class Budgets:
    """US dollars a day; 0 is no bound. Turns with no known cost cost nothing here."""

    def __init__(
        self,
        database: Database,
        *,
        total_usd: float,
        user_usd: float,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_usd = total_usd
        self.user_usd = user_usd
        self._database = database
        self._clock = clock
        self._timer = timer
        self._breaker = Breaker()
        self._caught_up = False
        self._known: OrderedDict[_Key, _Sum] = OrderedDict()
        self._running: set[str] = set()
        # Turns that wait in the journal, what they cost, and what was spent on turns that are kept nowhere.
        self._waiting: set[str] = set()
        self._unstored: defaultdict[_Key, float] = defaultdict(float)
        self._owed: defaultdict[_Key, float] = defaultdict(float)

    @property
    def spent_usd(self) -> float:
        """What everybody spent today, as far as known here."""
        return self._spent((_EVERYBODY, self._today()))

    async def check(self, caller: Caller) -> None:
        """Raises `GatewayError` when nothing may be spent any more today: `daily_limit_reached` by this user, `overloaded` by
        anybody."""
        day = self._today()
        bounds = {(_EVERYBODY, day): self.total_usd} if self.total_usd else {}
        if self.user_usd and caller.kind == "user" and caller.id is not None:
            bounds[caller.id, day] = self.user_usd
        await self._refresh([key for key in bounds if self._is_stale(key)], day)
        for key, bound in bounds.items():
            if self._spent(key) >= bound:
                raise self._over(everybody=key[0] == _EVERYBODY)

    def begun(self, turn_id: str) -> None:
        """A turn runs; it will end, or be stored."""
        self._running.add(turn_id)

    def ended(self, turn_id: str, record: TurnRecord | None) -> None:
        """A turn ended; if the database has it already, `stored` has said so."""
        if turn_id in self._running:
            self._running.discard(turn_id)
            if record is not None and record.ended.cost_usd:
                self._waiting.add(turn_id)
                _add(self._unstored, record, record.ended.cost_usd)

    def stored(self, record: TurnRecord, place: Stored) -> None:
        """The database has a turn and what it cost; or nothing of it, as its conversation was deleted meanwhile."""
        turn_id, usd = record.begun.turn_id, record.ended.cost_usd or 0.0
        self._running.discard(turn_id)
        if turn_id in self._waiting:
            self._waiting.discard(turn_id)
            _add(self._unstored, record, -usd)
            if not self._waiting:
                # What may be left is what floating point made of it.
                self._unstored.clear()
        if place.message_id is None:
            _add(self._owed, record, usd)
            return
        for key in _keys(record):
            if key in self._known:
                self._known[key].since += usd

    async def refreshed(self) -> float:
        """What everybody spent today. Raises `StoreUnavailable`."""
        day = self._today()
        await self._read([(_EVERYBODY, day)], day)
        return self.spent_usd

    async def catch_up(self) -> None:
        """Once, count what was stored today while no budget was kept. Raises `StoreUnavailable`."""
        if not self._caught_up:
            day = self._today()
            await self._database.run(lambda connection: connection.execute(SQL["catch_up_spending"], day))
            self._caught_up = True

    async def prune(self) -> None:
        """Forget the sums of long ago. Raises `StoreUnavailable`."""
        before = self._today() - timedelta(days=_KEPT_DAYS)
        await self._database.run(lambda connection: connection.execute(SQL["prune_spending"], before))

    async def close(self) -> None:
        """Bring to the database what nothing else will."""
        try:
            await self._settle()
        except StoreUnavailable:
            log.warning("what deleted turns cost could not be stored: the database is away")

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _spent(self, key: _Key) -> float:
        known = self._known.get(key)
        here = self._unstored.get(key, 0.0) + self._owed.get(key, 0.0)
        return here if known is None else known.stored + known.since + here

    def _is_stale(self, key: _Key) -> bool:
        known = self._known.get(key)
        if known is None:
            return True
        # One turn looks; those that come meanwhile go by what was known a moment ago, if anything was.
        return self._timer() - known.read_at >= FRESH_S and not (known.reading and known.read_at > float("-inf"))

    async def _refresh(self, keys: list[_Key], day: date) -> None:
        if not keys or not self._breaker.lets_try():
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._read(keys, day)
        except (StoreUnavailable, TimeoutError):
            if self._breaker.failed():
                log.warning("budgets go by what was known last, and what is spent here: the database is away")
        else:
            self._breaker.worked()

    async def _read(self, keys: list[_Key], day: date) -> None:
        await self._settle()
        sums = [self._sum(key) for key in keys]
        before = [known.since for known in sums]
        for known in sums:
            known.reading = True
        try:
            callers = [caller for caller, _ in keys]
            rows = await self._database.run(lambda connection: connection.fetch(SQL["spent"], callers, day))
        finally:
            for known in sums:
                known.reading = False
        found = {row["caller"]: row["usd"] for row in rows}
        for (caller, _), known, counted in zip(keys, sums, before, strict=True):
            # What was stored while we looked may be in it or not: it counts twice for a moment, rather than not at all.
            known.stored, known.since, known.read_at = found.get(caller, 0.0), known.since - counted, self._timer()

    async def _settle(self) -> None:
        if not self._owed:
            return
        owed, self._owed = self._owed, defaultdict(float)
        columns = [caller for caller, _ in owed], [day for _, day in owed], list(owed.values())

        async def spend(connection: Any) -> None:
            await connection.execute(SQL["spend"], *columns)

        try:
            await self._database.run(spend)
        except BaseException:
            for key, usd in owed.items():
                self._owed[key] += usd
            raise
        for key, usd in owed.items():
            if key in self._known:
                self._known[key].since += usd

    def _sum(self, key: _Key) -> _Sum:
        known = self._known.setdefault(key, _Sum())
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _over(self, *, everybody: bool) -> GatewayError:
        reset_s = max(1, whole_seconds(_DAY_S - self._clock() % _DAY_S))
        if everybody:
            return GatewayError(
                "overloaded", "The server has spent what it may spend today; please come back tomorrow.", retry_after=reset_s
            )
        return GatewayError("daily_limit_reached", "Today's allowance is used up; more tomorrow.", retry_after=reset_s)


def _keys(record: TurnRecord) -> Iterator[_Key]:
    """The sums that a turn adds to."""
    day = datetime.fromtimestamp(record.ended.ended_ms / 1000, UTC).date()
    yield _EVERYBODY, day
    caller = record.begun.caller
    if caller is not None and caller.startswith("user:"):
        yield caller, day


def _add(sums: defaultdict[_Key, float], record: TurnRecord, usd: float) -> None:
    for key in _keys(record):
        sums[key] += usd
