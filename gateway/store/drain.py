"""The way back from the journal to the database, after an outage or a crash."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gateway.store.base import Store, Stored, StoreRefused, StoreUnavailable
from gateway.store.failures import is_doubtful
from gateway.store.journal import Journal
from gateway.store.journal_disk import JournalBroken
from gateway.store.journal_values import Waiting
from gateway.store.outcomes import Outcome, put_each

T = TypeVar("T")
log = logging.getLogger(__name__)

_MOST_TURNS: Final = 256
_MOST_BYTES: Final = 8 * 1024 * 1024
_BESIDE: Final = 64
_STRIKES: Final = 3


@dataclass(slots=True)
class Reach:
    """What is known of the way to the database.

    `hung` counts statements that exceeded their time and have not come back, `behind` the waiting turns of each conversation:
    its newer turns go behind them. `stuck` counts turns that even the journal did not take. `recovering`: which conversations
    have waiting turns is not known yet.
    """

    down: bool = False
    hung: int = 0
    stuck: int = 0
    recovering: bool = True
    behind: Counter[str] = field(default_factory=Counter)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def away(self) -> bool:
        """Whether to leave the database alone."""
        return self.down or self.hung > 0

    def lacks(self, conversation: str) -> bool:
        """Whether turns of a conversation may be waiting."""
        return self.recovering or conversation in self.behind

    def caught_up(self, conversations: Iterable[str]) -> None:
        """One waiting turn of each of these is waiting no more."""
        for conversation in conversations:
            self.behind[conversation] -= 1
            if self.behind[conversation] <= 0:
                del self.behind[conversation]
        self.tell()

    def tell(self) -> None:
        """What is known has changed."""
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], bool], patience_s: float) -> bool:
        """Wait for what is known to meet a condition; False when it did not in time."""
        try:
            async with asyncio.timeout(patience_s):
                while not condition():
                    await self._news.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to try a database that is away: from `first_s` doubling to `longest_s`; how long one try may take."""

    first_s: float = 0.1
    longest_s: float = 4.0
    try_s: float = 10.0


class Drain:
    """One loop that writes what waits in the journal, in order, one bounded statement at a time, and looks for a lost database.

    The first statement after an outage is a small one, the next twice as large, and so on: a database that comes back is
    not stormed. A turn that fails again and again while others get through is kept apart. `retry` makes the writer try again
    what is stuck; `on_up` says that turns may go to the database.
    """

    def __init__(
        self, store: Store, journal: Journal, reach: Reach, pace: Pace, retry: Callable[[], None], on_up: Callable[[], None]
    ) -> None:
        self._store = store
        self._journal = journal
        self._reach = reach
        self._pace = pace
        self._retry = retry
        self._on_up = on_up
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._delay_s = pace.first_s
        self._turns = _MOST_TURNS
        self._strikes: Counter[int] = Counter()

    def wake(self) -> None:
        """There is something to do."""
        self._work.set()

    def hurry(self) -> None:
        """There is reason to try at once."""
        self._work.set()
        self._hurry.set()

    async def run(self) -> None:
        """Adopt what dead processes left, then write what waits, until cancelled."""
        await self._guarded(self._adopt)
        await self._guarded(self._look)
        while True:
            self._work.clear()
            if not self._journal.spooled:
                self._reach.behind.clear()
                self._reach.tell()
                if not (self._reach.away or self._reach.stuck):
                    await self._work.wait()
                    continue
            if await self._guarded(self._round):
                self._delay_s = self._pace.first_s
            else:
                await self._pause()

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Whatever happens, the loop goes on: without it no waiting turn would ever be written."""
        try:
            return await work()
        except Exception:
            log.exception("writing what waits met an error nobody foresaw")
            return None

    async def _adopt(self) -> None:
        try:
            while (moved := await self._journal.adopt()) is not None:
                self._reach.behind.update(moved)
                log.info("%d turns that a dead process left are taken over", moved.total())
        except JournalBroken:
            log.exception("what dead processes left stays where it is until the next start")
        finally:
            self._reach.recovering = False
            self._reach.tell()
            self._on_up()

    async def _round(self) -> bool:
        """Do what can be done; False when it is time to pause."""
        self._retry()
        try:
            waiting = await self._journal.read(self._turns, _MOST_BYTES)
            if waiting:
                return await self._move(waiting)
        except JournalBroken:
            return False  # it has said so in the log
        await self._look()
        return False

    async def _move(self, waiting: Sequence[Waiting]) -> bool:
        error = await self._write(waiting)
        if error is None:
            self._turns = min(_MOST_TURNS, self._turns * 2)
            self._strikes.clear()
            self._found()
            return True
        if len(waiting) == 1 and is_doubtful(error) and await self._passed_by(waiting[0]):
            self._strikes[waiting[0].seq] += 1
            if self._strikes[waiting[0].seq] >= _STRIKES:
                reason = str(error) or "it takes too long"
                log.error("turn %s fails while others get through (%s): it is kept apart", _turn_id(waiting[0]), reason)
                await self._set_apart(waiting[:1])
            return True
        self._lost(error)
        return False

    async def _passed_by(self, head: Waiting) -> bool:
        """Write some turn that waits behind the first, of another conversation; False when there is none, or it fails too."""
        conversation = head.record.begun.conversation_id
        behind = await self._journal.read(_BESIDE, _MOST_BYTES)
        other = next((row for row in behind if row.record.begun.conversation_id != conversation), None)
        return other is not None and await self._write((other,)) is None

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._pace.try_s):
                await self._store.ping()
        except (StoreUnavailable, TimeoutError) as error:
            self._lost(error)
        else:
            self._found()

    async def _write(self, waiting: Sequence[Waiting]) -> Exception | None:
        """Write turns; the first failure of the database ends it."""
        for batch in _rounds(waiting):
            try:
                async with asyncio.timeout(self._pace.try_s):
                    outcomes = await put_each(self._store, [row.record for row in batch])
            except TimeoutError as error:
                return error
            await self._settle(batch, outcomes)
            failures = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
            if failures:
                return failures[0]
        return None

    async def _settle(self, batch: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        pairs = list(zip(batch, outcomes, strict=True))
        stored = [row for row, outcome in pairs if isinstance(outcome, Stored)]
        refused = [row for row, outcome in pairs if isinstance(outcome, StoreRefused)]
        if stored:
            await self._journal.discard(stored)
            self._reach.caught_up(row.record.begun.conversation_id for row in stored)
        if refused:
            await self._set_apart(refused)

    async def _set_apart(self, waiting: Sequence[Waiting]) -> None:
        await self._journal.refuse(waiting)
        self._reach.caught_up(row.record.begun.conversation_id for row in waiting)

    def _lost(self, error: Exception) -> None:
        if not self._reach.down:
            log.warning("the database is away (%s); turns wait in the journal", error or "it does not answer")
        self._reach.down = True
        self._reach.tell()
        self._turns = 1 if is_doubtful(error) else max(1, self._turns // 2)

    def _found(self) -> None:
        if self._reach.down:
            log.warning("the database is back; %d turns wait in the journal", self._journal.spooled)
        self._reach.down = False
        self._on_up()

    async def _pause(self) -> None:
        self._hurry.clear()
        wait_s = self._delay_s * (0.5 + secrets.randbelow(1000) / 1000)
        self._delay_s = min(self._pace.longest_s, self._delay_s * 2)
        try:
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
        except TimeoutError:
            return


def _turn_id(row: Waiting) -> str:
    return row.record.begun.turn_id


def _rounds(waiting: Sequence[Waiting]) -> list[list[Waiting]]:
    """Split turns so that no two of one conversation are in one statement, and each conversation keeps its order."""
    rounds: list[list[Waiting]] = []
    seen: Counter[str] = Counter()
    for row in waiting:
        conversation = row.record.begun.conversation_id
        if seen[conversation] == len(rounds):
            rounds.append([])
        rounds[seen[conversation]].append(row)
        seen[conversation] += 1
    return rounds
