"""Turns that were accepted just now, in two short files that are appended to on the event loop: the least that survives a kill.

New turns are added to one file, while the journal's thread writes those of the other that still run to SQLite, and empties it;
then the two change places. A turn that is over by then never gets to SQLite. A hop to the thread and back cost a turn 0.2 ms of
CPU, and some milliseconds whenever both threads wanted the interpreter (bench/README.md).
"""

import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger("gateway.store.journal")

SUFFIXES: Final = (".begun-a", ".begun-b")
ROW_BYTES: Final = 64
"""What a row counts besides its bytes, wherever it is."""
_HEAD: Final = struct.Struct("<IIQ")
"""Length and checksum of a turn's bytes, and its running id."""
_MOST_BYTES: Final = 64 * 1024 * 1024
_SLOW_S: Final = 0.05
"""An append that takes longer holds up every stream: for `_REST_S` seconds there is none then."""
_REST_S: Final = 10.0


class BegunFile:
    """One of the two files; `size` counts its bytes, those of turns that are over too. Every method raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not O_APPEND: over a network each write would first ask where the file ends.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.clear()

    def append(self, number: int, data: bytes) -> None:
        """Add a turn, or nothing of it: the next one takes the place of one that was written in part."""
        row = _HEAD.pack(len(data), _checksum(number, data), number) + data
        if self.size + len(row) > _MOST_BYTES:
            raise OSError(f"{self._path} was not emptied for long")
        if os.pwrite(self._descriptor, row, self.size) != len(row):
            raise OSError(f"{self._path} has no room")
        self.size += len(row)

    def clear(self) -> None:
        """Empty it; what was in it seldom came as far as the disk."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0

    def close(self) -> None:
        """Let go of it; it stays where it is."""
        os.close(self._descriptor)


class JustBegun:
    """The turns that are in the two files alone, for the event loop. `size` counts them as the journal counts its rows."""

    def __init__(self) -> None:
        self._open: BegunFile | None = None
        self._spare: BegunFile | None = None
        self._turns: dict[int, bytes] = {}
        self._not_before = 0.0
        self.size = 0

    def use(self, first: BegunFile, second: BegunFile) -> None:
        """Begin, with two empty files."""
        self._open, self._spare = first, second

    @property
    def stale(self) -> bool:
        """Whether there is something to move or to empty."""
        return bool(self._turns or (self._open and self._open.size))

    def add(self, number: int, data: bytes) -> bool:
        """Keep a turn. False when that failed, or the disk was so slow lately that all streams would wait for it."""
        since = time.perf_counter()
        if self._open is None or since < self._not_before:
            return False
        try:
            self._open.append(number, data)
        except OSError:
            return False
        finally:
            if time.perf_counter() - since > _SLOW_S:
                self._not_before = since + _REST_S
        self._turns[number] = data
        self.size += len(data) + ROW_BYTES
        return True

    def pop(self, number: int) -> bytes | None:
        """Take a turn away; None when it is not here (any more)."""
        data = self._turns.pop(number, None)
        if data is not None:
            self.size -= len(data) + ROW_BYTES
        return data

    def move(self) -> tuple[dict[int, bytes], BegunFile | None]:
        """Give away all turns, to be written to SQLite, and the file to be emptied behind that, unless one still is to be."""
        turns, self._turns, self.size = self._turns, {}, 0
        full = None
        if self._open and self._spare and self._open.size:
            full, self._open, self._spare = self._open, self._spare, None
        return turns, full

    def emptied(self, file: BegunFile) -> None:
        """Take back the file that `move` gave away."""
        self._spare = file


def open_both(journal: Path) -> tuple[BegunFile, ...]:
    """Open both files beside a journal's own, empty: what was in them must be safe by now. Raises `OSError`."""
    return tuple(BegunFile(path) for path in _paths(journal))


def remove(journal: Path) -> None:
    """Delete both files."""
    for path in _paths(journal):
        path.unlink(missing_ok=True)


def _paths(journal: Path) -> tuple[Path, ...]:
    return tuple(journal.with_suffix(suffix) for suffix in SUFFIXES)


def read(journal: Path) -> list[tuple[int, bytes]]:
    """What a dead process left in its two files, in the order of the running ids, up to where one was cut short or damaged."""
    found: list[tuple[int, bytes]] = []
    for path in _paths(journal):
        content = path.read_bytes() if path.exists() else b""
        rows = list(_rows(content))
        end = sum(_HEAD.size + len(data) for _, data in rows)
        if end != len(content):
            log.warning("the last %d bytes of %s are no whole turn", len(content) - end, path)
        found.extend(rows)
    return sorted(found)


def _rows(content: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _HEAD.size <= len(content):
        length, checksum, number = _HEAD.unpack_from(content, start)
        start += _HEAD.size
        data = content[start : start + length]
        if not data or len(data) != length or checksum != _checksum(number, data):
            return
        yield number, data
        start += length


def _checksum(number: int, data: bytes) -> int:
    return zlib.crc32(data, number & 0xFFFFFFFF)
