"""The journal: what is known of turns that PostgreSQL does not have yet, in files that survive the process.

That a turn was accepted is appended to a file at once (`journal_begun`). All else happens on one thread of its own, by group
commit: what the event loop asks for while the thread is at work goes into the next transaction, so that the busier the server
is, the less one turn costs.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar

from gateway.core.jsontext import clean
from gateway.core.turn import Reply, TurnBegun, TurnRecord
from gateway.store.base import JournalFull
from gateway.store.journal_batch import Batch, Outcome, process
from gateway.store.journal_begun import ROW_BYTES, JustBegun
from gateway.store.journal_db import Sync, sync_data
from gateway.store.journal_disk import JournalBroken
from gateway.store.journal_file import JournalFile
from gateway.store.journal_rows import Row
from gateway.store.journal_values import Totals, Waiting
from gateway.store.record_json import encode_begun, encode_record

T = TypeVar("T")
log = logging.getLogger("gateway.store.journal")

# What running turns have come to, and which ones are over, is gathered this long (seconds), so that many share a transaction.
GATHER_S: Final = 0.25
_GATHERED_PER_S: Final = 1000


class Journal:
    """Every method is called on the event loop that opened it. `left` counts, by conversation, the turns found at the start.

    `JournalFull` says that no new turn may begin: the journal is over its bound, or, as `JournalBroken`, its disk fails.
    """

    def __init__(self, file: JournalFile, max_bytes: int, gather_s: float) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._gather_s = gather_s
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._next = Batch()
        self._underway: Batch | None = None
        self._handing = False
        self._not_before = 0.0
        self._closed = False
        self._totals = Totals()
        self._ids: dict[str, int] = {}
        self._last_id = 0
        self._fresh: dict[int, tuple[Reply, int]] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._begun = JustBegun()
        self._gone: list[int] = []
        self._tidying: asyncio.TimerHandle | None = None
        self.left: Counter[str] = Counter()
        self.ok = True

    @classmethod
    async def open(
        cls, directory: Path, name: str, *, max_bytes: int, gather_s: float = GATHER_S, sync: Sync = sync_data
    ) -> "Journal":
        """Open `<directory>/<name>.sqlite`, making it and the folder (mode 0700) when they are missing.

        `max_bytes` bounds the live rows, not the file; what running turns come to, and that they are over, is written after
        `gather_s` seconds at most, the former sooner when they are few; `sync` flushes a file descriptor to the disk. Raises
        `JournalBroken` when the folder cannot be used or another living process holds the file. Open it after forking.
        """
        journal = cls(JournalFile(directory, name, sync), max_bytes, gather_s)
        journal._thread.start()
        try:
            journal.left = await journal._ask(journal._file.open)
            journal._begun.use(*journal._file.begun)
        except BaseException:
            journal._end_thread()
            raise
        return journal

    @property
    def spooled(self) -> int:
        """How many ended turns wait for the database."""
        return self._totals.spooled

    @property
    def refused(self) -> int:
        """How many turns the database would not have."""
        return self._totals.refused

    @property
    def live_bytes(self) -> int:
        """Bytes of all that is kept."""
        underway = self._underway.begin_bytes if self._underway else 0
        return self._totals.live_bytes + underway + self._next.begin_bytes + self._begun.size

    async def begin(self, begun: TurnBegun) -> None:
        """Keep a turn; it survives a kill of the process from then on. Raises `JournalFull`, `JournalBroken`."""
        if self._closed:
            raise JournalBroken("the journal is closed")
        data = encode_begun(begun)
        if self.live_bytes + len(data) + ROW_BYTES > self._max_bytes:
            raise JournalFull(f"the journal holds {self.live_bytes} bytes of at most {self._max_bytes}")
        self._last_id += 1
        self._ids[begun.turn_id] = self._last_id
        if self.ok and self._begun.add(self._last_id, data):
            self._tidy_soon()
            return
        kept = self._loop.create_future()
        self._next.begin(self._last_id, data, kept)
        self._hand_over_soon()
        try:
            await kept
        except asyncio.CancelledError:
            self.forget((begun.turn_id,))
            raise
        except JournalBroken:
            del self._ids[begun.turn_id]
            raise

    def progress(self, turn_id: str, reply: Reply) -> None:
        """Keep what has come of a running turn's reply, soon; the last one wins. Replies must only grow."""
        number = self._ids.get(turn_id)
        if number is None or self._closed:
            return
        self._fresh[number] = (reply, time.time_ns() // 1_000_000)
        if self._gathering is None:
            self._gathering = self._loop.call_later(min(self._gather_s, len(self._ids) / _GATHERED_PER_S), self._gather)

    def forget(self, turn_ids: Iterable[str]) -> None:
        """Drop running turns, soon: the database has them, or they were not begun after all.

        There is no hurry: should the process be killed meanwhile, the database gets them once more, which changes nothing.
        """
        for turn_id in turn_ids:
            number = self._ids.pop(turn_id, None)
            if number is not None:
                self._leave(number)
                if self._begun.pop(number) is None:
                    self._gone.append(number)
        if self._gone:
            self._tidy_soon()

    async def end(self, *records: TurnRecord, refused: bool = False) -> None:
        """Put ended turns into the spool (or apart from it, `refused`); fsynced when it returns. Raises `JournalBroken`."""
        if self._closed:
            raise JournalBroken("the journal is closed")
        rows = [Row(clean(r.begun.turn_id), clean(r.begun.conversation_id), encode_record(r)) for r in records]
        batch, kept = self._next, self._loop.create_future()
        (batch.writes.refusals if refused else batch.writes.ends).extend(rows)
        batch.end_waiters.append(kept)
        for record in records:
            number = self._ids.pop(record.begun.turn_id, None)
            if number is not None:
                batch.endings[record.begun.turn_id] = number
                self._leave(number)
                if (data := self._begun.pop(number)) is not None:
                    batch.move({number: data})
                batch.writes.gone.append(number)
        self._hand_over_soon()
        await kept

    async def read(self, limit: int, max_bytes: int) -> list[Waiting]:
        """The turns that have waited longest, in order: at most `limit`, and some `max_bytes`. Raises `JournalBroken`."""
        return await self._ask(lambda: self._file.read(limit, max_bytes))

    async def discard(self, waiting: Sequence[Waiting]) -> None:
        """The database has them. Raises `JournalBroken`; they are read again then."""
        await self._ask(lambda: self._file.discard(waiting))

    async def refuse(self, waiting: Sequence[Waiting]) -> None:
        """The database will not have them: keep them apart until the next start. Raises `JournalBroken`."""
        await self._ask(lambda: self._file.refuse([row.seq for row in waiting]))

    async def adopt(self) -> Counter[str] | None:
        """Move a slice of what dead processes left in the folder into the spool; None when there is no more.

        Counts what was moved by conversation. Raises `JournalBroken`; nothing is lost then, and it may be called again.
        """
        return await self._ask(self._file.adopt)

    async def close(self) -> None:
        """Write down all that was handed in, checkpoint, end the thread."""
        if self._closed:
            return
        if self._gathering is not None:
            self._gathering.cancel()
            self._gather()
        self._closed = True
        last = self._next
        await self._ask(lambda: self._file.close(moved=last.writes.committed or not last.moved))
        self._end_thread()

    def _end_thread(self) -> None:
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _leave(self, number: int) -> None:
        self._fresh.pop(number, None)
        self._next.writes.progress.pop(number, None)

    def _gather(self) -> None:
        self._gathering = None
        self._next.writes.progress.update(self._fresh)
        self._fresh.clear()
        self._tidy()

    def _tidy_soon(self) -> None:
        if self._tidying is None and not self._closed:
            self._tidying = self._loop.call_later(self._gather_s, self._tidy)

    def _tidy(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        self._next.writes.gone.extend(self._gone)
        self._gone.clear()
        self._next.move(*self._begun.move())
        self._hand_over_soon()

    async def _ask(self, job: Callable[[], T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()
        self._next.jobs.append((job, answer))
        self._tidy()
        return await answer

    def _hand_over_soon(self) -> None:
        """At the end of this turn of the loop, so that all that happens in it shares a transaction; later after a failure."""
        if self._underway is not None or self._handing or not self._next:
            return
        self._handing = True
        if self._loop.time() >= self._not_before:
            self._loop.call_soon(self._hand_over)
        else:
            self._loop.call_at(self._not_before, self._hand_over)

    def _hand_over(self) -> None:
        self._handing = False
        if self._next:
            self._underway, self._next = self._next, Batch()
            self._queue.put(self._underway)

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            outcome = process(self._file, batch)
            try:
                self._loop.call_soon_threadsafe(self._settle, batch, outcome)
            except RuntimeError:
                return  # the loop was closed without closing the journal: nobody is left to tell

    def _settle(self, batch: Batch, outcome: Outcome) -> None:
        self._underway = None
        self._totals = outcome.totals
        if batch.writes:
            self._judge(batch, outcome.error)
        for (_, answer), result in zip(batch.jobs, outcome.results, strict=True):
            if answer.done():
                continue
            if isinstance(result, BaseException):
                answer.set_exception(result)
            else:
                answer.set_result(result)
        self._hand_over_soon()

    def _judge(self, batch: Batch, error: JournalBroken | None) -> None:
        if self.ok != (error is None):
            self.ok = error is None
            log.log(logging.INFO if self.ok else logging.ERROR, "the journal works again" if self.ok else str(error))
        if error is None:
            if batch.writes.full is not None:
                self._begun.emptied(batch.writes.full)
            if self._begun.stale:
                self._tidy_soon()
        else:
            if not batch.writes.committed:
                self._ids.update(batch.endings)
                ending = set(batch.endings.values())
                self._next.writes.gone.extend(number for number in batch.writes.gone if number not in ending)
            self._next.move({} if batch.writes.committed else batch.moved, batch.writes.full)
            self._not_before = self._loop.time() + self._gather_s
        batch.tell(error)
