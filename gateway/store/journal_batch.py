"""What goes to the journal's thread at once, and what comes back."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.store.journal_begun import ROW_BYTES, BegunFile
from gateway.store.journal_disk import JournalBroken
from gateway.store.journal_file import JournalFile
from gateway.store.journal_values import Totals, Writes

T = TypeVar("T")
log = logging.getLogger("gateway.store.journal")


@dataclass(slots=True)
class Batch:
    """One transaction, and what is to be read or moved behind it.

    `begin_waiters` hear whether it was committed, `end_waiters` whether it was flushed as well; `moved` are the turns that come
    from the files beside the journal, by running id; `endings` are the running ids of the turns that end in it, by turn id.
    """

    writes: Writes = field(default_factory=Writes)
    moved: dict[int, bytes] = field(default_factory=dict)
    begin_waiters: list[asyncio.Future[None]] = field(default_factory=list)
    end_waiters: list[asyncio.Future[None]] = field(default_factory=list)
    jobs: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = field(default_factory=list)
    endings: dict[str, int] = field(default_factory=dict)
    begin_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.writes or self.moved or self.jobs)

    def begin(self, number: int, data: bytes, kept: asyncio.Future[None]) -> None:
        """Let a turn be written that nothing has yet."""
        self.writes.begins.append((number, data))
        self.begin_bytes += len(data) + ROW_BYTES
        self.begin_waiters.append(kept)

    def move(self, turns: dict[int, bytes], full: BegunFile | None = None) -> None:
        """Let turns from the files beside the journal be written to its own, and a file emptied then that has no others."""
        self.moved.update(turns)
        self.writes.full = full or self.writes.full
        self.begin_bytes += sum(len(data) + ROW_BYTES for data in turns.values())

    def tell(self, error: JournalBroken | None) -> None:
        """Answer those who wait, but those who no longer do."""
        for waiters, failure in ((self.begin_waiters, None if self.writes.committed else error), (self.end_waiters, error)):
            for kept in waiters:
                if kept.done():
                    continue
                if failure is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(JournalBroken(str(failure)))


@dataclass(slots=True)
class Outcome:
    """What the file holds behind a batch, why that failed if it did, before or behind its commit, and what each job gave."""

    totals: Totals
    error: JournalBroken | None
    results: list[Any]


def process(file: JournalFile, batch: Batch) -> Outcome:
    """Do a batch's work, on the journal's thread."""
    error: JournalBroken | None = None
    batch.writes.begins.extend(batch.moved.items())
    if batch.writes:
        failure = _try(lambda: file.write(batch.writes))
        error = None if failure is None else failure if isinstance(failure, JournalBroken) else JournalBroken(repr(failure))
    results = [_try(job) for job, _ in batch.jobs]
    return Outcome(file.totals, error, results)


def _try(job: Callable[[], T]) -> T | Exception:
    try:
        return job()
    except JournalBroken as error:
        return error
    except Exception as error:
        log.exception("the journal's thread met an error nobody foresaw")
        return error
