"""Several worker processes behind one port: started, watched, restarted one after another, drained together.

The parent owns the listening socket (and the embedded database), so no connection is refused while a worker restarts.
SIGHUP replaces the workers one by one, each new one accepting before its predecessor drains.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

from gateway.settings import Settings
from gateway.signals import Signals

log = logging.getLogger(__name__)

RUN = Path(__file__).parents[1] / "run.py"
_START_S = 60.0
_RESTART_PAUSE_S = 1.0


class WorkerFailed(Exception):
    """A worker ended before it accepted connections; it has said why."""


class Supervisor:
    """Keeps `count` workers running until told to stop."""

    def __init__(self, settings: Settings, database_url: str, listener: socket.socket) -> None:
        self._count = settings.web_concurrency
        self._environment = {**os.environ, "DATABASE_URL": database_url, "DATA_DIR": str(settings.data_dir)}
        self._listener = listener
        self._workers: dict[int, Process] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._started = 0
        self._stopping = False
        self._replacing = asyncio.Lock()

    async def run(self, ready: Callable[[], None], signals: Signals) -> None:
        """Returns when every worker has drained. Raises `WorkerFailed` when the first ones cannot start."""
        self._listener.set_inheritable(True)
        stop = self._on_signals(signals)
        try:
            for slot in range(self._count):
                if stop.is_set():
                    return
                self._watch(slot, await self._start(slot))
            ready()
            await stop.wait()
        finally:
            await self._stop_all()

    async def replace_all(self) -> None:
        """Replace the workers one after another."""
        async with self._replacing:
            for slot in range(self._count):
                if self._stopping:
                    return
                old = self._workers[slot]
                try:
                    self._watch(slot, await self._start(slot))
                except WorkerFailed:
                    log.exception("worker %d could not be replaced: the old one goes on", slot)
                    return
                old.send_signal(signal.SIGTERM)
                await old.wait()

    async def _start(self, slot: int) -> Process:
        self._started += 1
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(RUN),
                f"--worker={slot}-{self._started}",
                f"--socket={self._listener.fileno()}",
                f"--ready={writing}",
                env=self._environment,
                pass_fds=(self._listener.fileno(), writing),
                # Ctrl-C reaches the parent alone, which passes it on in order.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            told = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 1), _START_S)
        finally:
            os.close(reading)
        if not told:
            await process.wait()
            raise WorkerFailed(f"worker {slot} ended with status {process.returncode}")
        return process

    def _watch(self, slot: int, process: Process) -> None:
        self._workers[slot] = process
        task = asyncio.get_running_loop().create_task(self._watched(slot, process))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _watched(self, slot: int, process: Process) -> None:
        """Start a worker anew that ended by itself."""
        await process.wait()
        while not self._stopping and self._workers.get(slot) is process:
            log.error("worker %d ended with status %s; starting another", slot, process.returncode)
            await asyncio.sleep(_RESTART_PAUSE_S)
            try:
                self._watch(slot, await self._start(slot))
            except WorkerFailed:
                log.exception("worker %d could not start", slot)

    async def _stop_all(self) -> None:
        self._stopping = True
        self._signal_all(signal.SIGTERM)
        await asyncio.gather(*(process.wait() for process in self._workers.values()))
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._workers.values():
            if process.returncode is None:
                process.send_signal(number)

    def _on_signals(self, signals: Signals) -> asyncio.Event:
        stop = signals.watch()
        # Twice SIGTERM ends a worker at once; its journal has everything.
        signals.on_again = lambda: self._signal_all(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def replace() -> None:
            task = loop.create_task(self.replace_all())
            self._watchers.add(task)
            task.add_done_callback(self._watchers.discard)

        loop.add_signal_handler(signal.SIGHUP, replace)
        return stop
