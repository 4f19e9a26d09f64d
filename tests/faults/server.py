"""The gateway as it is run, `run.py` in a process of its own: started, stopped, killed and started again in one folder."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from tests.processes import environment
from tests.warm import READY, Process, start_process

PATIENCE_S = 90.0  # far above everything that is waited for: reaching it means that something hangs


class Server:
    """One gateway and its DATA_DIR, `home`/data; `said` is what all of its processes have written to stderr.

    `settings` are environment variables; from its first start on it keeps its port.
    """

    def __init__(self, home: Path, provider_url: str, settings: Mapping[str, str]) -> None:
        self.home = home
        self.data = home / "data"
        self.settings = dict(settings)
        self.said: list[str] = []
        self.url = ""
        self._provider_url = provider_url
        self._process: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._port = "0"

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def text(self) -> str:
        """All that was written to stderr."""
        return "".join(self.said)

    async def launch(self, **settings: str) -> None:
        """Start a process and do not wait for it."""
        assert self._process is None, "it runs already"
        self.home.mkdir(parents=True, exist_ok=True)
        self._ready.clear()
        self._process = await start_process(self._environment() | settings, self.home, session=True)
        self._listening = asyncio.create_task(self._listen(self._process))

    async def start(self, **settings: str) -> None:
        """Start a process and return when it accepts connections."""
        await self.launch(**settings)
        async with asyncio.timeout(PATIENCE_S):
            await self._ready.wait()
        assert self.url, f"it did not start: {self.text}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended; a signal's number, negative, where it was killed."""
        assert self._process is not None
        assert self._listening is not None
        async with asyncio.timeout(PATIENCE_S):
            status = await self._process.wait()
            await self._listening
        self._process.close()
        self._process = None
        return status

    async def stop(self) -> int:
        """End it as an operator does; its exit status."""
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it as a power cut does."""
        self.send(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    async def close(self) -> None:
        """End it, whatever it does, and the database of its own that it may have left behind."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            await self.ended()
        for process in postgres_in(self.data):
            with suppress(psutil.Error):
                process.kill()

    def _environment(self) -> dict[str, str]:
        return environment(self._provider_url) | {"PORT": self._port, "DATA_DIR": str(self.data)} | self.settings

    async def _listen(self, process: Process) -> None:
        while line := (await process.stderr.readline()).decode("utf-8", "replace"):
            self.said.append(line)
            if found := READY.match(line):
                self.url = found[1]
                self._port = self.url.rpartition(":")[2]
                self._ready.set()
        self._ready.set()


def postgres_in(data: Path) -> list[psutil.Process]:
    """Every process that works in the embedded database's folder."""
    place = (data / "postgres").resolve()
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()) == place and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def own_database(server: Server) -> str:
    """The address of a gateway's embedded database."""
    return f"postgresql://postgres@/postgres?host={server.data}/postgres"


@asynccontextmanager
async def serving(home: Path, provider_url: str, **settings: str) -> AsyncIterator[Server]:
    """A gateway that serves, and is gone at the end."""
    server = Server(home, provider_url, settings)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
