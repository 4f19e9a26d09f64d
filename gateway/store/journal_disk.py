"""The journal's folder: who holds which file, opening one, putting a damaged one aside."""

import fcntl
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from gateway.store.base import JournalFull

log = logging.getLogger("gateway.store.journal")

VERSION: Final = 1
APPLICATION_ID: Final = 0x4D334A4C
SUFFIX: Final = ".sqlite"
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOCK_STEP_S: Final = 0.05

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE running (id INTEGER PRIMARY KEY, begun BLOB NOT NULL);
CREATE TABLE progress (id INTEGER NOT NULL, part INTEGER NOT NULL, chunk BLOB NOT NULL, PRIMARY KEY (id, part)) WITHOUT ROWID;
CREATE TABLE spool (seq INTEGER PRIMARY KEY, turn_id TEXT NOT NULL UNIQUE, conversation_id TEXT NOT NULL, record BLOB NOT NULL);
CREATE TABLE refused (seq INTEGER PRIMARY KEY, turn_id TEXT NOT NULL UNIQUE, conversation_id TEXT NOT NULL, record BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


class JournalBroken(JournalFull):
    """The journal cannot be written or read now: no new turn may begin."""


class DamageError(Exception):
    """A file that is no journal of this version: garbage, cut short, or made by a later one."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is no good, rather than the disk full or failing."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


class FileLock:
    """Held by the process that owns a journal file; the system lets go of it when that process dies, however it dies.

    A process forked while it is held would go on holding it: open the journal after forking.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, journal: Path) -> "FileLock | None":
        """Lock a journal file, or return None when a living process holds it. Raises `OSError`."""
        path = journal.with_suffix(".lock")
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            if _is_file(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)  # removed by its holder between our open and our lock

    @classmethod
    def wait(cls, journal: Path, patience_s: float) -> "FileLock | None":
        """The same, waiting a while for another worker that is just recovering the file."""
        until = time.monotonic() + patience_s
        while (lock := cls.take(journal)) is None and time.monotonic() < until:
            time.sleep(_LOCK_STEP_S)
        return lock

    def release(self, *, remove: bool = False) -> None:
        """Let go, removing the lock file when the file it stands for is gone."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def prepare(directory: Path) -> None:
    """Make the folder, for its owner alone. Raises `JournalBroken` naming it when it cannot be used."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch(0o600)
        probe.unlink()
    except OSError as error:
        raise JournalBroken(f"the journal's folder {directory} cannot be used: {error.strerror}") from error


def sync_folder(directory: Path) -> None:
    """Make the names of new files survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: Path, *, trusted: bool = True) -> sqlite3.Connection:
    """Open a journal file for one thread, making it when there is none; not `trusted`: without a look at what is in it.

    Raises `DamageError`, `sqlite3.Error`, `OSError`. Commits survive a kill of the process; what must survive a power loss
    needs an fsync of the write-ahead log besides.
    """
    _open_up(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=2)
    try:
        if not trusted:
            # Otherwise a file shorter than its header says is not read at all (SQLite, lockBtree in btree.c).
            connection.execute("PRAGMA writable_schema = ON")
        _configure(connection)
        if trusted:
            _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_up(path: Path) -> None:
    if path.exists() and path.stat().st_size == 0 and _size(path, "-wal") > 0:
        raise DamageError("the file is empty, but not its write-ahead log")
    try:
        for beside in (path.with_name(path.name + suffix) for suffix in _BESIDE):
            if beside == path or beside.exists():
                os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                beside.chmod(0o600)
    except (PermissionError, IsADirectoryError) as error:
        raise DamageError(f"it cannot be opened: {error.strerror}") from error


def _size(path: Path, suffix: str) -> int:
    beside = path.with_name(path.name + suffix)
    return beside.stat().st_size if beside.exists() else 0


def _configure(connection: sqlite3.Connection) -> None:
    # Exclusive locking keeps the log's index in memory: no shared-memory file, no lock calls at each transaction.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise DamageError(f"its journal mode cannot be changed from {mode}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = FAST")
    # A checkpoint flushes what the log holds, and turns wait for it: little at a time.
    connection.execute("PRAGMA wal_autocheckpoint = 400")
    connection.execute("PRAGMA journal_size_limit = 16777216")


def _check(connection: sqlite3.Connection) -> None:
    version, application = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        connection.executescript(_SCHEMA)
        return
    if application != APPLICATION_ID or version != VERSION:
        raise DamageError(f"it is of version {version}, this server writes version {VERSION}")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise DamageError(verdict)


def set_aside(path: Path, why: object) -> Path:
    """Rename a damaged file and what belongs to it, saying so loudly; return its new path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    log.error("the journal %s cannot be used (%s); it was set aside as %s", path, why, aside.name)
    return aside


def remove(path: Path) -> None:
    """Delete a journal file and what belongs to it."""
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
