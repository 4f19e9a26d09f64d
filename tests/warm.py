"""Processes of `run.py`, forked from one that has imported it: a suite starts a hundred, and a start is mostly imports.

Environment, folder and standard error are theirs alone, as if `run.py` had been executed.
"""

import asyncio
import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from io import FileIO
from pathlib import Path

from tests.documents import ROOT

READY = re.compile(r"^Gateway ready at (\S+)$", re.MULTILINE)
"""The line that says where it is reached."""
NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""For processes that speak plain HTTP alone: reading half a megabyte of certificates takes each a tenth of a second."""
_FORKER = Path(__file__).with_name("forker.py")


class Process:
    """One that runs or has ended, with the members of `asyncio.subprocess.Process` that tests use."""

    def __init__(self, pid: int, stderr: "_Pipe", status: "_Pipe") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stderr = stderr.reader
        self._pipes = stderr, status
        self._ending = asyncio.create_task(self._end(status.reader))

    async def wait(self) -> int:
        """Its exit status, once it has ended; a signal's number, negative, where it was killed."""
        return await asyncio.shield(self._ending)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal. Raises `ProcessLookupError` when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of what it says."""
        for pipe in self._pipes:
            pipe.transport.close()

    async def _end(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.readline())
        return self.returncode


async def start_process(environ: Mapping[str, str], folder: Path, *, session: bool = False) -> Process:
    """A process of `run.py` in this folder, in a session of its own where that is asked for."""
    told, stderr = await _Pipe.open()
    status, end = await _Pipe.open()
    with open(stderr, "wb"), open(end, "wb"):
        request = json.dumps({"environ": dict(environ), "folder": str(folder), "session": session})
        socket.send_fds(_parent(), [request.encode()], [stderr, end])
    return Process(int(await status.reader.readline()), told, status)


class _Pipe:
    """The end of a pipe that is read here."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self.transport = transport

    @classmethod
    async def open(cls) -> tuple["_Pipe", int]:
        """It, and the descriptor of the other end."""
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), FileIO(ours))
        return cls(reader, transport), theirs


@cache
def _parent() -> socket.socket:
    """The process that forks, reached through a socket; it ends when that is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(_FORKER), str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ | NO_CERTIFICATES,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
