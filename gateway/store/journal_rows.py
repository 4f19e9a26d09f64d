"""What a dead process left in its journal file, read lazily and past damage."""

import logging
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from gateway.store import journal_begun
from gateway.store.journal_disk import SUFFIX, DamageError, FileLock, connect, is_damage, remove, set_aside
from gateway.store.progress_json import interrupted
from gateway.store.record_json import decode_begun, encode_record

SLICE_ROWS: Final = 500
SLICE_BYTES: Final = 4 * 1024 * 1024


log = logging.getLogger("gateway.store.journal")

Execute = Callable[..., sqlite3.Cursor]


class Row(NamedTuple):
    """A turn that waits to be written to the database."""

    turn_id: str
    conversation_id: str
    record: bytes


def salvage(execute: Execute, table: str, columns: str, key: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table by its integer key; where pages are damaged, from both ends up to them.

    `columns` begins with `key`. Raises `sqlite3.Error` on anything but damage.
    """
    last = None
    try:
        for row in execute(f"SELECT {columns} FROM {table} ORDER BY {key}"):  # noqa: S608 - our own names
            last = row[0]
            yield row
        return
    except sqlite3.DatabaseError as error:
        if not is_damage(error) and "no such table" not in str(error):
            raise
    log.error("rows of the journal's table %s are damaged behind %s %s", table, key, last)
    try:
        for row in execute(f"SELECT {columns} FROM {table} ORDER BY {key} DESC"):  # noqa: S608 - our own names
            if last is not None and row[0] <= last:
                return
            yield row
    except sqlite3.DatabaseError as error:
        if not is_damage(error) and "no such table" not in str(error):
            raise


def ended_rows(execute: Execute) -> Iterator[Row]:
    """Yield the turns that ended, those once refused too: another version may take them."""
    for table in ("spool", "refused"):
        for _, turn_id, conversation_id, record in salvage(execute, table, "seq, turn_id, conversation_id, record", "seq"):
            yield Row(str(turn_id), str(conversation_id), _blob(record))


def running_rows(execute: Execute) -> Iterator[Row]:
    """Yield the turns that never ended, each as the record of an interrupted one."""
    return _interrupted(salvage(execute, "running", "id, begun", "id"), execute)


def begun_rows(path: Path) -> Iterator[Row]:
    """The same for those in the two files beside the journal at `path`, of which nothing has come.

    Some of them may be in the journal as well; those that something has come of are.
    """
    return _interrupted(journal_begun.read(path), None)


def _interrupted(running: Iterable[tuple[object, ...]], execute: Execute | None) -> Iterator[Row]:
    for number, begun in running:
        try:
            record = interrupted(decode_begun(_blob(begun)), () if execute is None else _chunks(execute, number))
        except ValueError:
            log.exception("a running turn in the journal cannot be read")
            continue
        yield Row(record.begun.turn_id, record.begun.conversation_id, encode_record(record))


def _chunks(execute: Execute, number: object) -> Iterator[bytes]:
    try:
        for row in execute("SELECT chunk FROM progress WHERE id = ? ORDER BY part", (number,)):
            yield _blob(row[0])
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        log.exception("what had come of a turn is damaged in the journal")


def _blob(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def slices(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists of bounded length and size."""
    taken: list[Row] = []
    size = 0
    for row in rows:
        taken.append(row)
        size += len(row.record)
        if len(taken) >= SLICE_ROWS or size >= SLICE_BYTES:
            yield taken
            taken, size = [], 0
    if taken:
        yield taken


def left_in(path: Path) -> Iterator[list[Row]]:
    """Yield what is in a dead process's file, in order; a damaged file is set aside and read as far as it can be."""
    try:
        connection = connect(path)
    except (DamageError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        yield from left_in_damaged(set_aside(path, error))
        yield from slices(begun_rows(path))
        return
    with closing(connection):
        yield from slices(ended_rows(connection.execute))
        yield from slices(running_rows(connection.execute))
        yield from slices(begun_rows(path))


def left_in_damaged(path: Path, *, running_too: bool = True) -> Iterator[list[Row]]:
    """Yield what can still be read of a file that was set aside, which stays where it is."""
    try:
        with closing(connect(path, trusted=False)) as connection:
            yield from slices(ended_rows(connection.execute))
            if running_too:
                yield from slices(running_rows(connection.execute))
    except (DamageError, sqlite3.Error, OSError) as error:
        log.error("no more can be read of %s: %s", path, error)  # noqa: TRY400


def running_in_damaged(path: Path) -> list[tuple[int, bytes]]:
    """The turns as they were accepted, by running id, that can still be read of a file that was set aside."""
    found: list[tuple[int, bytes]] = []
    try:
        with closing(connect(path, trusted=False)) as connection:
            found.extend(
                (int(str(number)), _blob(begun)) for number, begun in salvage(connection.execute, "running", "id, begun", "id")
            )
    except (DamageError, sqlite3.Error, OSError) as error:
        log.error("no more can be read of %s: %s", path, error)  # noqa: TRY400
    return found


def left_by_the_dead(directory: Path, own: Path) -> Generator[list[Row]]:
    """Yield what is in the files of a folder that no living process holds.

    Asking for the next slice says that the last one is safe: a file is deleted once it was read to its end. Those beside a
    journal may be all that is left: one that was damaged is set aside before the rest is read.
    """
    suffixes = (SUFFIX, *journal_begun.SUFFIXES)
    for path in sorted({path.with_suffix(SUFFIX) for suffix in suffixes for path in directory.glob(f"*{suffix}")}):
        lock = None if path == own else FileLock.take(path)
        if lock is None:
            continue
        drained = False
        try:
            yield from left_in(path)
            journal_begun.remove(path)
            remove(path)
            drained = True
        except (OSError, sqlite3.Error):
            log.exception("the journal %s is left for the next start", path)
        finally:
            lock.release(remove=drained)
