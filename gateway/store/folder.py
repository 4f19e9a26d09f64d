"""The folder that holds the journal and the embedded database: made private, and used by one server at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderInUse(Exception):
    """Another server runs on this folder, or it cannot be used: one line for the operator."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for as long as the context lasts; the lock dies with the process. Raises `FolderInUse`."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderInUse(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FolderInUse(f"DATA_DIR: {folder} is in use by another server") from None
    try:
        yield
    finally:
        os.close(descriptor)
