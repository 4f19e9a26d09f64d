"""A disk that does what the test says."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Disk:
    """Counts flushes; holds one up while `free` is cleared (`entered` tells when it has begun), or fails while `broken`."""

    def __init__(self, *, free: bool = True) -> None:
        self.flushes = 0
        self.broken = False
        self.entered = threading.Event()
        self.free = threading.Event()
        if free:
            self.free.set()

    def sync(self, descriptor: int) -> None:
        """Flush a file descriptor."""
        self.entered.set()
        self.free.wait()
        if self.broken:
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)
        self.flushes += 1


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a full disk; then it may again."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
