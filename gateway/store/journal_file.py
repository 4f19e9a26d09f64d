"""What a worker's journal file holds: running turns, their progress, turns that wait for the database, refused ones."""

import logging
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.store import journal_begun
from gateway.store import journal_disk as disk
from gateway.store import journal_rows as rows
from gateway.store.journal_begun import ROW_BYTES, BegunFile
from gateway.store.journal_db import LARGEST_AT_ONCE, JournalDb, Sync, sync_data
from gateway.store.journal_disk import FileLock, JournalBroken
from gateway.store.journal_rows import Row
from gateway.store.journal_values import Totals, Waiting, Writes
from gateway.store.progress_json import Marks, encode_chunk
from gateway.store.record_json import decode_record

_LOCK_PATIENCE_S: Final = 10
_SHRINK_ABOVE_PAGES: Final = 16 * 1024
_BEGIN: Final = "INSERT OR IGNORE INTO running VALUES {}"
_ADD: Final = {
    "spool": "INSERT OR IGNORE INTO spool (turn_id, conversation_id, record) VALUES {}",
    "refused": "INSERT OR IGNORE INTO refused (turn_id, conversation_id, record) VALUES {}",
}
_COPY_REFUSED: Final = """
INSERT OR IGNORE INTO refused (turn_id, conversation_id, record)
SELECT turn_id, conversation_id, record FROM spool WHERE seq = ?
"""
_TAKE_BACK_REFUSED: Final = """
INSERT OR IGNORE INTO spool (turn_id, conversation_id, record)
SELECT turn_id, conversation_id, record FROM refused ORDER BY seq
"""
_SUMS: Final = (
    "SELECT count(*), coalesce(sum(length(record) + ?), 0) FROM spool",
    "SELECT count(*), coalesce(sum(length(record) + ?), 0) FROM refused",
)
log = logging.getLogger("gateway.store.journal")

Chunk = tuple[int, int, bytes]


class JournalFile:
    """The file `<directory>/<name>.sqlite`, for one thread. Every method raises `JournalBroken` when the disk fails.

    A file found damaged, at the start or later, is set aside, and what can be read of it goes into a fresh one.
    """

    def __init__(self, directory: Path, name: str, sync: Sync = sync_data) -> None:
        self._directory = directory
        self._db = JournalDb(directory / f"{name}{disk.SUFFIX}", self._refill, sync)
        self._lock: FileLock | None = None
        self._opened = False
        self._sizes: dict[int, int] = {}
        self._marks: dict[int, Marks] = {}
        self._running_bytes = self._ended_bytes = self._spooled = self._refused = 0
        self._dead: Generator[list[Row]] | None = None
        self.begun: tuple[BegunFile, ...] = ()

    @property
    def totals(self) -> Totals:
        """What the file holds after the last transaction."""
        return Totals(self._running_bytes + self._ended_bytes, self._spooled, self._refused)

    def open(self) -> Counter[str]:
        """Lock and open the file; turns that a dead process left running become interrupted ones.

        Returns how many turns wait, by conversation; `begun` has the two files beside this one from then on.
        """
        disk.prepare(self._directory)
        self._lock = FileLock.wait(self._db.path, _LOCK_PATIENCE_S)
        if self._lock is None:
            raise JournalBroken(f"the journal {self._db.path} is in use by another process")
        try:
            self._db.open()
            left = self._db.attempt(self._end_running)
            self.begun = self._db.attempt(lambda: journal_begun.open_both(self._db.path))
        except JournalBroken:
            self._db.close()
            self._lock.release()
            raise
        self._opened = True
        return left

    def write(self, writes: Writes) -> None:
        """Commit; with an end in it, fsynced."""
        self._db.attempt(lambda: self._write(writes))
        if writes.full is not None:
            self._db.attempt(writes.full.clear)

    def read(self, limit: int, max_bytes: int) -> list[Waiting]:
        """The turns that have waited longest, in order; what cannot be decoded is set apart, loudly."""
        return self._db.attempt(lambda: self._read(limit, max_bytes))

    def discard(self, waiting: Sequence[Waiting]) -> None:
        """The database has them."""
        self._db.attempt(lambda: self._discard(waiting))

    def refuse(self, seqs: Sequence[int]) -> None:
        """The database will not have them: keep them apart, where they block nothing."""
        self._db.attempt(lambda: self._refuse(seqs))

    def adopt(self) -> Counter[str] | None:
        """Take over a slice of what dead processes left in the folder; None when nothing is left.

        Their files are deleted once all that is in them is fsynced here.
        """
        if self._dead is None:
            self._dead = rows.left_by_the_dead(self._directory, self._db.path)
        part = next(self._dead, None)
        if part is None:
            self._dead = None
            return None
        try:
            self.write(Writes(ends=part))
        except JournalBroken:
            self._leave_the_dead()
            raise
        return Counter(row.conversation_id for row in part)

    def close(self, *, moved: bool) -> None:
        """Checkpoint and let go; a file with nothing in it is deleted, as are the two beside it if all of them was `moved`."""
        empty = False
        try:
            self._db.attempt(self._count)
            empty = not (self._sizes or self._spooled or self._refused)
        except JournalBroken:
            log.exception("what the journal holds stays for the next start")
        self._leave_the_dead()
        self._db.close()
        for file in self.begun:
            file.close()
        if moved:
            journal_begun.remove(self._db.path)
        if empty and moved:
            disk.remove(self._db.path)
        if self._lock is not None:
            self._lock.release(remove=empty and moved)

    def _leave_the_dead(self) -> None:
        if self._dead is not None:
            self._dead.close()
            self._dead = None

    def _write(self, writes: Writes) -> None:
        self._commit(writes)
        writes.committed = True
        if writes.ends or writes.refusals:
            self._db.sync()

    def _commit(self, writes: Writes) -> None:
        if self._db.troubled:
            self._count()
        if len(writes.begins) <= LARGEST_AT_ONCE and not writes.more:
            if writes.begins:
                self._db.at_once(_BEGIN, "(?, ?)", writes.begins)
                self._account(writes, [])
            return
        with self._db.transaction():
            chunks, marks = self._chunks(writes)
            self._db.many(_BEGIN, "(?, ?)", writes.begins)
            self._db.many("INSERT OR REPLACE INTO progress VALUES {}", "(?, ?, ?)", chunks)
            self._spooled += self._add("spool", writes.ends)
            self._refused += self._add("refused", writes.refusals)
            gone = [(number,) for number in writes.gone]
            self._db.many("DELETE FROM running WHERE id IN ({})", "?", gone)
            self._db.many("DELETE FROM progress WHERE id IN ({})", "?", [row for row in gone if row[0] in self._marks])
        self._marks.update(marks)
        self._account(writes, chunks)

    def _chunks(self, writes: Writes) -> tuple[list[Chunk], dict[int, Marks]]:
        chunks: list[Chunk] = []
        marks: dict[int, Marks] = {}
        for number, (reply, at_ms) in writes.progress.items():
            chunk, marks[number] = encode_chunk(self._marks.get(number, Marks()), reply, at_ms)
            chunks.append((number, marks[number].parts, chunk))
        return chunks, marks

    def _account(self, writes: Writes, chunks: list[Chunk]) -> None:
        written = [*writes.begins, *((number, data) for number, _, data in chunks)]
        for number, data in written:
            size = len(data) + ROW_BYTES
            self._sizes[number] = self._sizes.get(number, 0) + size
            self._running_bytes += size
        for number in writes.gone:
            self._running_bytes -= self._sizes.pop(number, 0)
            self._marks.pop(number, None)

    def _add(self, table: str, ended: Sequence[Row]) -> int:
        added = self._db.many(_ADD[table], "(?, ?, ?)", ended)
        self._ended_bytes += sum(len(row.record) + ROW_BYTES for row in ended)
        if added != len(ended):
            self._db.troubled = True
        return added

    def _count(self) -> None:
        """Add up what the file holds, after a failure: nobody knows how far it came."""
        (self._spooled, spool), (self._refused, refused) = (self._db.execute(sql, (ROW_BYTES,)).fetchone() for sql in _SUMS)
        self._sizes = dict(self._db.execute("SELECT id, length(begun) + ? FROM running", (ROW_BYTES,)))
        for number, size in self._db.execute("SELECT id, sum(length(chunk) + ?) FROM progress GROUP BY id", (ROW_BYTES,)):
            self._sizes[number] = self._sizes.get(number, 0) + size
        self._running_bytes, self._ended_bytes = sum(self._sizes.values()), spool + refused
        self._db.troubled = False

    def _read(self, limit: int, max_bytes: int) -> list[Waiting]:
        while True:
            found: list[Waiting] = []
            unreadable: list[int] = []
            size = 0
            query = self._db.execute("SELECT seq, turn_id, record FROM spool ORDER BY seq LIMIT ?", (limit,))
            with closing(query) as cursor:
                for seq, turn_id, record in cursor:
                    try:
                        found.append(Waiting(seq, len(record) + ROW_BYTES, decode_record(record)))
                    except ValueError:
                        log.exception("turn %s in the journal cannot be read and is kept apart", turn_id)
                        unreadable.append(seq)
                    size += len(record)
                    if size >= max_bytes:
                        break
            if unreadable:
                self._refuse(unreadable)
            if found or not unreadable:
                return found

    def _discard(self, waiting: Sequence[Waiting]) -> None:
        with self._db.transaction():
            deleted = self._db.many("DELETE FROM spool WHERE seq IN ({})", "?", [(row.seq,) for row in waiting])
        self._spooled -= deleted
        self._ended_bytes -= sum(row.size for row in waiting)
        if deleted != len(waiting):
            self._db.troubled = True
        if not self._spooled:
            self._db.shrink(_SHRINK_ABOVE_PAGES)

    def _refuse(self, seqs: Sequence[int]) -> None:
        with self._db.transaction():
            for seq in seqs:
                self._db.execute(_COPY_REFUSED, (seq,))
                self._db.execute("DELETE FROM spool WHERE seq = ?", (seq,))
        self._spooled -= len(seqs)
        self._refused += len(seqs)

    def _end_running(self) -> Counter[str]:
        with self._db.transaction():
            self._db.execute(_TAKE_BACK_REFUSED)  # another version of the server may get them through
            self._db.execute("DELETE FROM refused")
            for left in (rows.running_rows(self._db.execute), rows.begun_rows(self._db.path)):
                for part in rows.slices(left):
                    self._add("spool", part)
            self._db.execute("DELETE FROM running")
            self._db.execute("DELETE FROM progress")
        self._count()
        return Counter(dict(self._db.execute("SELECT conversation_id, count(*) FROM spool GROUP BY conversation_id")))

    def _refill(self, aside: Path) -> None:
        """Take what can be read of a damaged file; turns that run here go on running."""
        self._marks.clear()
        for part in rows.left_in_damaged(aside, running_too=not self._opened):
            self._write(Writes(ends=part))
        if self._opened:
            with self._db.transaction():
                self._db.many(_BEGIN, "(?, ?)", rows.running_in_damaged(aside))
        self._db.troubled = True
