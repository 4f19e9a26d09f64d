"""Several worker processes behind one port: started, watched, replaced one after another, drained together.

The parent owns the listening socket (and the embedded database), so no connection is refused while a worker is replaced. SIGHUP
replaces the workers one by one: each new one accepts before its predecessor stops to. Workers end when their parent does.
"""

import asyncio
import itertools
import logging
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.multiprocess import mark_process_dead

from gateway.settings import Settings
from gateway.signals import RETIRE, Signals
from gateway.web.listening import refuse_newcomers

log = logging.getLogger(__name__)

RUN: Final = Path(__file__).parents[1] / "run.py"
_START_S: Final = 60.0
_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
_LAST_PATIENCE_S: Final = 20.0


class WorkerFailed(Exception):
    """A worker ended before it accepted connections; it has said why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    """A process, its number among the living, since when it runs (monotonic seconds), and the parent's end of what ties it to
    its parent."""

    process: Process
    number: int
    since: float
    lifeline: socket.socket

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Keeps `WEB_CONCURRENCY` workers running until told to stop."""

    def __init__(self, settings: Settings, database_url: str, listener: socket.socket) -> None:
        self._slots = range(settings.web_concurrency)
        self._patience_s = settings.drain_s + _LAST_PATIENCE_S
        # Where the workers keep their metrics together.
        self._metrics = settings.data_dir / "metrics"
        told = {"HOST": settings.host, "PORT": str(settings.port), "DATA_DIR": str(settings.data_dir)}
        told["PROMETHEUS_MULTIPROC_DIR"] = str(self._metrics)
        self._environment = {**os.environ, **told, "DATABASE_URL": database_url}
        self._listener = listener
        self._current: dict[int, _Worker] = {}
        self._alive: set[_Worker] = set()
        self._replacing = asyncio.Lock()
        self._locks = [asyncio.Lock() for _ in self._slots]
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers: set[int] = set()
        self._stopping = False

    async def run(self, ready: Callable[[], None], signals: Signals) -> None:
        """Returns when every worker has drained. Raises `WorkerFailed` when the first ones cannot start."""
        self._listener.set_inheritable(True)
        shutil.rmtree(self._metrics, ignore_errors=True)
        self._metrics.mkdir(parents=True)
        stop = signals.watch()
        # Twice SIGTERM ends a worker at once; its journal has everything.
        signals.on_again = lambda: self._signal_all(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._replace_all()))
        stopped, started = loop.create_task(stop.wait()), loop.create_task(self._start_all())
        try:
            await asyncio.wait((stopped, started), return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                await started
                ready()
                await stopped
        finally:
            await self._stop_all()
            for task in (stopped, started):
                task.cancel()
            await asyncio.gather(stopped, started, return_exceptions=True)

    async def _start_all(self) -> None:
        # The first alone: what keeps it from starting is said once.
        for slots in (self._slots[:1], self._slots[1:]):
            for slot, worker in zip(slots, await asyncio.gather(*map(self._start, slots)), strict=True):
                self._current[slot] = worker
        for slot in self._slots:
            self._spawn(self._keep(slot))

    async def _replace_all(self) -> None:
        async with self._replacing:
            for slot in list(self._current):
                if self._stopping or not await self._replaced(slot):
                    return

    async def _replaced(self, slot: int) -> bool:
        async with self._locks[slot]:
            old = self._current[slot]
            try:
                self._current[slot] = await self._start(slot)
            except WorkerFailed:
                log.exception("a worker's predecessor goes on, and nothing more is replaced")
                return False
        old.send(RETIRE)
        await old.process.wait()
        return True

    async def _keep(self, slot: int) -> None:
        """Start a worker anew that ended by itself; one that keeps ending, ever later."""
        pause = 0.0
        while True:
            worker = self._current[slot]
            status = await worker.process.wait()
            if worker is not self._current[slot]:
                continue
            if self._stopping:
                return
            pause = 0.0 if time.monotonic() - worker.since > _STEADY_S else _longer(pause)
            log.error("worker %d ended with status %s; another is started", slot, status)
            restarted = False
            while not restarted:
                await asyncio.sleep(pause)
                restarted = await self._restarted(slot, worker)
                pause = _longer(pause)

    async def _restarted(self, slot: int, worker: _Worker) -> bool:
        async with self._locks[slot]:
            if worker is self._current[slot] and not self._stopping:
                try:
                    self._current[slot] = await self._start(slot)
                except WorkerFailed:
                    log.exception("a worker could not be started; it is tried again")
                    return False
        return True

    async def _start(self, slot: int) -> _Worker:
        """Raises `WorkerFailed`."""
        if self._listener.fileno() < 0:
            raise WorkerFailed(f"worker {slot} is not started: the server ends")
        number = next(number for number in itertools.count() if number not in self._numbers)
        self._numbers.add(number)
        try:
            ours, process = await self._process(number)
        except OSError as error:
            self._numbers.discard(number)
            raise WorkerFailed(f"worker {slot} cannot be started: {error.strerror or error}") from error
        worker = _Worker(process, number, time.monotonic(), ours)
        self._alive.add(worker)
        if self._stopping:
            worker.send(signal.SIGTERM)
        if not await self._serves(worker):
            status = await process.wait()
            self._bury(worker)
            raise WorkerFailed(f"worker {slot} ended with status {status} before it served")
        self._spawn(self._until_it_ends(worker))
        return worker

    async def _process(self, number: int) -> tuple[socket.socket, Process]:
        """A worker's process and its lifeline. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                return ours, await asyncio.create_subprocess_exec(
                    sys.executable,
                    str(RUN),
                    f"--worker={number}",
                    f"--socket={self._listener.fileno()}",
                    f"--lifeline={theirs.fileno()}",
                    env=self._environment,
                    pass_fds=(self._listener.fileno(), theirs.fileno()),
                    # Ctrl-C reaches the parent alone, which passes it on in order.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise

    async def _serves(self, worker: _Worker) -> bool:
        """Wait until a worker accepts connections; False when it has ended or takes too long."""
        try:
            async with asyncio.timeout(_START_S):
                return bool(await asyncio.get_running_loop().sock_recv(worker.lifeline, 1))
        except TimeoutError:
            worker.send(signal.SIGKILL)
        except ConnectionError:
            pass
        return False

    async def _until_it_ends(self, worker: _Worker) -> None:
        await worker.process.wait()
        self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        self._alive.discard(worker)
        worker.lifeline.close()
        # What it counted stays; what it was doing is over.
        mark_process_dead(worker.number, str(self._metrics))  # type: ignore[no-untyped-call]
        self._numbers.discard(worker.number)

    async def _stop_all(self) -> None:
        self._stopping = True
        await refuse_newcomers(self._listener)
        # The workers close theirs when all who have connected are let in; with this one open, others would wait in vain.
        self._listener.close()
        self._signal_all(signal.SIGTERM)
        ends = [asyncio.ensure_future(worker.process.wait()) for worker in self._alive]
        if ends:
            _, hanging = await asyncio.wait(ends, timeout=self._patience_s)
            if hanging:
                log.error("%d workers do not end; they are killed", len(hanging))
                self._signal_all(signal.SIGKILL)
                await asyncio.wait(hanging)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._alive:
            worker.send(number)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _longer(pause: float) -> float:
    return min(max(_PAUSE_S, 2 * pause), _LONGEST_PAUSE_S)


def tied(lifeline: int) -> Callable[[], None]:
    """What a worker calls when it accepts connections: its parent hears of it, and when the parent is gone the worker ends."""

    def ready() -> None:
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(lifeline)
            log.error("the parent process is gone: this worker ends as well")
            os.kill(os.getpid(), signal.SIGTERM)

        with suppress(BrokenPipeError):
            os.write(lifeline, b"1")
        loop.add_reader(lifeline, gone)

    return ready
