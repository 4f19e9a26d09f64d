"""Gateways as they are run: `run.py` in processes of their own, which can be killed, stopped and told to restart."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulator import Simulator
from tests.running import PROVIDERS, Gateway, open_client
from tests.warm import NO_CERTIFICATES, READY, Process, start_process

Launch = Callable[..., Awaitable["GatewayProcess"]]


@dataclass(slots=True)
class GatewayProcess(Gateway):
    """A gateway whose server is another process; `said` is what it has written to its log."""

    process: Process | None = None
    said: list[str] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started (the parent of the workers where there are several)."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; its exit status."""
        assert self.process is not None
        return await self.process.wait()

    async def close(self) -> None:
        """End it now, whatever it does."""
        await self.client.aclose()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        assert self.process is not None
        if self.process.returncode is None:
            # Every worker has this one as its parent or watches over it; SIGTERM twice ends them at once.
            for number in (signal.SIGTERM, signal.SIGTERM):
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(number)
                await asyncio.sleep(0.05)
            try:
                async with asyncio.timeout(10):
                    await self.process.wait()
            except TimeoutError:
                self.process.send_signal(signal.SIGKILL)
                await self.process.wait()
        self.process.close()
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait((self._reading,))


@pytest.fixture
async def launch(simulator: Simulator, database_url: str, tmp_path: Path) -> AsyncIterator[Launch]:
    """Starts gateways on one database, in folders of their own unless told otherwise; keyword arguments are settings."""
    async with AsyncExitStack() as stack:
        number = 0

        async def start(**environ: str) -> GatewayProcess:
            nonlocal number
            number += 1
            given = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path / f"data-{number}"), "PORT": "0"}
            process = await _launched(simulator, database_url, tmp_path, given | environ)
            stack.push_async_callback(process.close)
            return process

        yield start


def environment(provider_url: str) -> dict[str, str]:
    """What the process of a gateway is given beside a test's settings: keys and addresses of providers, all at one URL."""
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    given |= {f"{name.upper()}_API_KEY": "test-key" for name in PROVIDERS}
    given |= {f"{name.upper()}_BASE_URL": provider_url + ("/v1" if name == "openai" else "") for name in PROVIDERS}
    return given | NO_CERTIFICATES


async def _launched(simulator: Simulator, database_url: str, home: Path, given: dict[str, str]) -> GatewayProcess:
    process = await start_process(environment(simulator.base_url) | given, home)
    said: list[str] = []
    url = ""
    async with asyncio.timeout(60):
        while not url:
            line = (await process.stderr.readline()).decode()
            said.append(line)
            if not line:
                raise AssertionError(f"it did not start: {''.join(said)}")
            if found := READY.match(line):
                url = found[1]
    reading = asyncio.create_task(_read(process.stderr, said))
    elsewhere: Any = None
    return GatewayProcess(url, open_client(url), simulator, database_url, elsewhere, elsewhere, None, process, said, reading)


async def _read(stream: asyncio.StreamReader, said: list[str]) -> None:
    while line := await stream.readline():
        said.append(line.decode())
