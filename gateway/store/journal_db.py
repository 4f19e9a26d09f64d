"""A connection to one journal file that survives the file: damaged, it is set aside and a fresh one filled from it."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.store import journal_disk as disk
from gateway.store.journal_disk import DamageError, JournalBroken

T = TypeVar("T")
log = logging.getLogger("gateway.store.journal")
Sync = Callable[[int], None]

# SQLite's own limit of variables was once 999.
_LARGEST: Final = 256
# Each number of rows is a statement of its own, which the connection keeps.
LARGEST_AT_ONCE: Final = 32
sync_data: Final[Sync] = getattr(os, "fdatasync", os.fsync)


class JournalDb:
    """For one thread. `refill` is called with the path of a file that was set aside, on a fresh, open one.

    `sync` flushes a file descriptor to the disk. `troubled` is set by every failure, for the owner to clear.
    """

    def __init__(self, path: Path, refill: Callable[[Path], None], sync: Sync = sync_data) -> None:
        self.path = path
        self.troubled = True
        self._refill = refill
        self._sync = sync
        self._connection: sqlite3.Connection | None = None
        self._log_fd = -1

    def open(self) -> None:
        """Open the file, or a fresh one in its place. Raises `JournalBroken`."""
        with self._clear_errors():
            try:
                self._connect()
            except (DamageError, sqlite3.Error) as error:
                if isinstance(error, sqlite3.Error) and not disk.is_damage(error):
                    raise
                self._replace(error)

    def attempt(self, work: Callable[[], T]) -> T:
        """Do something with the file, once more if it proves to be damaged. Raises `JournalBroken`."""
        with self._clear_errors():
            try:
                return work()
            except sqlite3.Error as error:
                if not disk.is_damage(error):
                    raise
                self._replace(error)
                return work()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, DamageError) as error:
            self.troubled = True
            raise JournalBroken(f"the journal {self.path} fails: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, or nothing of it. A commit survives a kill of the process."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self.troubled = True
            with suppress(sqlite3.Error):
                self.execute("ROLLBACK")
            raise

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        if self._connection is None:
            raise sqlite3.OperationalError("the file is closed")
        return self._connection.execute(sql, values)

    def many(self, sql: str, place: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement whose `{}` takes many rows, each as `place`; return how many rows it changed.

        Not row by row: each step lets go of the interpreter's lock and has to win it back from the event loop.
        """
        changed = start = 0
        while start < len(rows):
            count = min(_LARGEST, 1 << ((len(rows) - start).bit_length() - 1))
            changed += self._run(sql, place, rows[start : start + count])
            start += count
        return changed

    def at_once(self, sql: str, place: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same for at most `LARGEST_AT_ONCE` rows and as a transaction of its own: the least that a commit can cost."""
        self._run(sql, place, rows)

    def _run(self, sql: str, place: str, rows: Sequence[Sequence[Any]]) -> int:
        return self.execute(_spelled(sql, place, len(rows)), [value for row in rows for value in row]).rowcount

    def sync(self) -> None:
        """Make what was committed survive a power loss: the write-ahead log holds all that is not in the file yet."""
        self._sync(self._log_fd)

    def shrink(self, pages: int) -> None:
        """Give the disk back what a file larger than `pages` no longer uses, if that can be done."""
        try:
            if self.execute("PRAGMA page_count").fetchone()[0] > pages:
                self.execute("VACUUM")
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            log.exception("the journal %s cannot be made smaller", self.path)

    def close(self) -> None:
        """Close the file, which moves what the log holds into it."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def _connect(self) -> None:
        self._connection = disk.connect(self.path)
        # SQLite keeps using this very log file for as long as the connection is open.
        self._log_fd = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        disk.sync_folder(self.path.parent)

    def _replace(self, error: Exception) -> None:
        self.close()
        self.troubled = True
        aside = disk.set_aside(self.path, error)
        self._connect()
        self._refill(aside)


@cache
def _spelled(sql: str, place: str, count: int) -> str:
    return sql.format(", ".join([place] * count))
