"""Where a turn goes when it ends: to PostgreSQL, or, when that does not take it in time, to the journal."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, assert_never

from gateway.core.turn import Reply, TurnBegun, TurnRecord
from gateway.store.base import Receipt, Store, Stored, StoreRefused, StoreUnavailable
from gateway.store.drain import Drain, Pace, Reach
from gateway.store.journal import Journal
from gateway.store.journal_disk import JournalBroken
from gateway.store.lanes import Lanes
from gateway.store.outcomes import Outcome, put_each
from gateway.store.pending import Item, NotLogged, Statement, answer, disappoint, size_of

log = logging.getLogger(__name__)

_MOST_TURNS: Final = 256
_MOST_CHARACTERS: Final = 8 * 1024 * 1024
_STATEMENTS: Final = 2
_SLOW_S: Final = 0.05
"""So long turns that end wait for the statement under way, to share the next one (2 % of a turn's CPU)."""
_HURRIED_S: Final = 0.5
_CATCH_UP_S: Final = 2.0


class Writer:
    """The turn log: the journal while a turn runs, one statement for all the turns that end while the last is under way.

    A turn that PostgreSQL has not confirmed within `store_wait_s` is fsynced in the journal instead, from where it is written
    once PostgreSQL answers; while it does not, turns go to the journal at once. A conversation's turns are written in the
    order in which they were put.
    """

    def __init__(
        self, store: Store, journal: Journal, *, store_wait_s: float = 1.0, give_up_s: float = 10.0, pace: Pace | None = None
    ) -> None:
        self._store = store
        self._journal = journal
        self._store_wait_s = store_wait_s
        self._give_up_s = give_up_s
        self._loop = asyncio.get_running_loop()
        self._lanes: Lanes[Item] = Lanes()
        self._reach = Reach(behind=journal.left)
        self._drain = Drain(store, journal, self._reach, pace or Pace(), self._retry, self._pump)
        self._draining: asyncio.Task[None] | None = None
        self._statements: set[Statement] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stuck: list[tuple[list[Item], bool]] = []
        self._pumping = False
        self._closed = False

    @property
    def spooled(self) -> int:
        """How many ended turns wait for the database."""
        return self._journal.spooled + self._reach.stuck

    @property
    def refused(self) -> int:
        """How many turns the database would not have; they are kept in the journal."""
        return self._journal.refused

    @property
    def database_up(self) -> bool:
        """Whether the database answered when last asked."""
        return not self._reach.away

    @property
    def journal_ok(self) -> bool:
        """Whether the journal could be written when last tried."""
        return self._journal.ok

    async def caught_up(self, conversation_id: str) -> bool:
        """Whether the database has all of a conversation that ended here: who reads it there would miss what it lacks.

        Waits a moment for turns that are on their way, unless the database is known to be away.
        """
        reach = self._reach
        if not reach.lacks(conversation_id):
            return True
        self._drain.hurry()
        await reach.until(lambda: reach.down or not reach.lacks(conversation_id), _CATCH_UP_S)
        return not reach.lacks(conversation_id)

    async def start(self, patience_s: float = 10.0) -> None:
        """Begin to write what the journal still holds, of this worker and of dead ones; the database may be away.

        Returns when it is known whose turns are left, at the latest after `patience_s` seconds: until then, turns go to the
        journal, and no conversation is known to be whole.
        """
        self._draining = self._loop.create_task(self._drain.run(), name="drain")
        await self._reach.until(lambda: not self._reach.recovering, patience_s)

    async def begin(self, begun: TurnBegun) -> None:
        """Return when the turn survives a kill of the process. Raises `JournalFull`."""
        await self._journal.begin(begun)

    def progress(self, begun: TurnBegun, reply: Reply) -> None:
        """Keep what has come so far."""
        self._journal.progress(begun.turn_id, reply)

    async def put(self, record: TurnRecord) -> Receipt:
        """Return when the turn is in PostgreSQL, or fsynced in the journal (`message_id` None).

        The turn is written even if the caller is cancelled. Raises `NotLogged` when both have failed for `give_up_s` seconds,
        or the writer is closed; what is in memory then is tried until `close`.
        """
        if self._closed:
            raise NotLogged(record.begun.turn_id)
        receipt: asyncio.Future[Receipt] = self._loop.create_future()
        self._lanes.add(Item(record, record.begun.conversation_id, size_of(record), self._loop.time(), receipt))
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)
        return await receipt

    def hurry(self) -> None:
        """The process ends: wait for PostgreSQL no longer than a moment from now on."""
        self._store_wait_s = min(self._store_wait_s, _HURRIED_S)
        for statement in self._statements:
            if statement.timer is not None and not statement.overdue:
                statement.timer.cancel()
                statement.timer = self._loop.call_later(self._store_wait_s, self._overdue, statement)

    async def close(self, patience_s: float = 5.0) -> None:
        """Give PostgreSQL `patience_s` seconds for what is queued, put the rest into the journal, leave no task behind."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait((self._draining,))
        for statement in self._statements:
            if statement.overdue and statement.task is not None:
                statement.task.cancel()  # its turns lie in the journal
        for _ in range(2):  # what neither takes is tried once more
            self._retry()
            try:
                async with asyncio.timeout(patience_s):
                    await self._settled()
            except TimeoutError:
                self._cut()
                await self._settled()
        self._closed = True
        self._give_up()

    def _cut(self) -> None:
        for statement in list(self._statements):
            self._overdue(statement)
            if statement.task is not None:
                statement.task.cancel()

    def _pump(self) -> None:
        """Start what can be started now."""
        self._pumping = False
        while self._lanes.ready:
            if self._reach.away:
                self._spawn(self._keep(self._lanes.take(_MOST_TURNS, _MOST_CHARACTERS)))
            elif self._may_send():
                self._send(self._lanes.take(_MOST_TURNS, _MOST_CHARACTERS))
            else:
                return

    def _may_send(self) -> bool:
        underway = self._statements
        if len(underway) >= _STATEMENTS:
            return False
        return self._lanes.ready >= _MOST_TURNS or all(statement.slow for statement in underway)

    def _send(self, items: Sequence[Item]) -> None:
        late = self._loop.time() - self._store_wait_s
        direct: list[Item] = []
        aside: list[Item] = []
        for item in items:
            waits = self._reach.recovering or item.conversation in self._reach.behind or item.since < late
            (aside if waits else direct).append(item)
        if aside:
            self._spawn(self._keep(aside))
        if direct:
            statement = Statement(direct)
            self._statements.add(statement)
            statement.timer = self._loop.call_later(min(_SLOW_S, self._store_wait_s), self._slow, statement)
            statement.task = self._spawn(self._write(statement))

    async def _write(self, statement: Statement) -> None:
        try:
            outcomes = await put_each(self._store, [item.record for item in statement.items])
            self._note(outcomes)
            if not statement.overdue:
                self._settle(statement.items, outcomes)
        finally:
            self._statements.discard(statement)
            if statement.timer is not None:
                statement.timer.cancel()
            if statement.overdue:
                self._reach.hung -= 1
                self._drain.hurry()
            self._pump()

    def _slow(self, statement: Statement) -> None:
        statement.slow = True
        statement.timer = self._loop.call_later(max(0.0, self._store_wait_s - _SLOW_S), self._overdue, statement)
        self._pump()

    def _overdue(self, statement: Statement) -> None:
        """PostgreSQL took too long: it may still take the turns later, which does no harm."""
        if not statement.overdue:
            statement.overdue = True
            self._reach.hung += 1
            self._spawn(self._keep(statement.items))
            self._drain.wake()
            self._pump()

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        failures = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
        if failures and not self._reach.down:
            log.warning("the database is away (%s); turns go to the journal", failures[0])
        self._reach.down = bool(failures)
        if failures:
            self._reach.tell()
            self._drain.wake()

    def _settle(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        stored: list[Item] = []
        refused: list[Item] = []
        missed: list[Item] = []
        for item, outcome in zip(items, outcomes, strict=True):
            match outcome:
                case Stored():
                    stored.append(item)
                    answer(item, Receipt(outcome.conversation_id, outcome.message_id))
                case StoreRefused():
                    refused.append(item)
                case StoreUnavailable():
                    missed.append(item)
                case _:
                    assert_never(outcome)
        if stored:
            self._journal.forget([item.record.begun.turn_id for item in stored])
            self._lanes.done(stored)
        if refused:
            self._spawn(self._keep(refused, refused=True))
        if missed:
            self._spawn(self._keep(missed))

    async def _keep(self, items: list[Item], *, refused: bool = False) -> None:
        """Put turns into the journal; what it does not take is stuck until the next try."""
        try:
            await self._journal.end(*(item.record for item in items), refused=refused)
        except JournalBroken:
            self._stuck.append((items, refused))
            self._reach.stuck += len(items)
            late = self._loop.time() - self._give_up_s
            disappoint(item for item in items if item.since < late)
        else:
            if not refused:
                self._reach.behind.update(item.conversation for item in items)
            for item in items:
                answer(item, Receipt(item.conversation, None))
            self._lanes.done(items)
        self._drain.wake()
        self._pump()

    def _retry(self) -> None:
        """Try again what neither the database nor the journal took."""
        stuck, self._stuck = self._stuck, []
        self._reach.stuck = 0
        for items, refused in stuck:
            if refused:
                self._spawn(self._keep(items, refused=True))
            else:
                self._lanes.back(items)
        self._pump()

    async def _settled(self) -> None:
        self._pump()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _give_up(self) -> None:
        """The process ends: say which turns nobody would take."""
        lost = [item for items, _ in self._stuck for item in items]
        lost.extend(self._lanes)
        for item in lost:
            log.error("turn %s is lost: neither the database nor the journal took it", item.record.begun.turn_id)
        disappoint(lost)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
