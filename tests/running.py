"""A whole gateway for a test: real HTTP, a real PostgreSQL, and a simulator in the place of the providers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
from aiohttp import web
from httpx_sse import EventSource, ServerSentEvent

from gateway.app import build
from gateway.listener import address, listen
from gateway.settings import load
from gateway.web.connections import Door
from gateway.web.services import SERVICES
from simulator import Settings as SimulatorSettings
from simulator import Simulator, parse_text, start_simulator

RECORDINGS = Path(__file__).parent / "fixtures"
PROVIDERS = ("openai", "anthropic", "groq", "google")
MOST_CONNECTIONS = 1000
PLAIN: Final[dict[str, Any]] = {"trust_env": False, "verify": False}
"""For httpx on plain HTTP: without certificates, which take longer to load than most tests do."""

Start = Callable[..., Awaitable["Gateway"]]


@dataclass(slots=True)
class Gateway:
    """A running gateway as its clients and operators see it."""

    url: str
    client: httpx.AsyncClient
    simulator: Simulator
    database_url: str
    door: Door
    _runner: web.AppRunner
    _connection: asyncpg.Connection | None = None

    async def ask(self, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """POST /chat; the reply, which must be a good one."""
        answer = await self.client.post("/chat", json=body, headers=_spelled(headers))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @asynccontextmanager
    async def streaming(
        self, body: dict[str, Any] | None = None, *, turn_id: str | None = None, **headers: str
    ) -> AsyncIterator[EventSource]:
        """POST /chat/stream with a body, or GET /chat/stream/{turn_id}; status and events as they come."""
        method, path = ("POST", "/chat/stream") if turn_id is None else ("GET", f"/chat/stream/{turn_id}")
        async with self.client.stream(method, path, json=body, headers=_spelled(headers)) as answer:
            yield EventSource(answer)

    async def events(
        self, body: dict[str, Any] | None = None, *, turn_id: str | None = None, **headers: str
    ) -> list[ServerSentEvent]:
        """All events of a stream, which must be one."""
        async with self.streaming(body, turn_id=turn_id, **headers) as source:
            if source.response.status_code != 200:
                raise AssertionError(f"{source.response.status_code}: {await source.response.aread()!r}")
            # This reader passes a comment line on as an event without data; the standard drops it.
            return [event async for event in source.aiter_sse() if event.data]

    async def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """What stands in PostgreSQL."""
        if self._connection is None:
            self._connection = await asyncpg.connect(self.database_url)
        return [dict(row) for row in await self._connection.fetch(statement, *arguments)]

    async def drain(self, patience_s: float = 0) -> None:
        """What a signal does first: take no new turns and end the running ones."""
        await self._runner.app[SERVICES].engine.drain(patience_s)

    async def close(self) -> None:
        """Shut the gateway down; a second one may be started on the same database and data folder afterwards."""
        await self.client.aclose()
        await self._runner.cleanup()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


@dataclass(slots=True)
class Told:
    """A stream read to its end."""

    events: list[ServerSentEvent]
    _data: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._data = [json.loads(event.data) for event in self.events]

    @property
    def names(self) -> list[str]:
        return [event.event for event in self.events]

    @property
    def last(self) -> dict[str, Any]:
        """The data of the terminal event."""
        return self._data[-1]

    def data(self, name: str) -> list[dict[str, Any]]:
        """The data of all events of one name, in order."""
        return [data for event, data in zip(self.events, self._data, strict=True) if event.event == name]

    def text(self, name: str = "token") -> str:
        """The texts of all events of one name, joined."""
        return "".join(data["text"] for data in self.data(name))


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    """`last_event_id="…"` as the header Last-Event-ID."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Four providers that answer at once, and know the project's recordings."""
    running = await _start_providers()
    yield running
    await running.close()


async def _start_providers() -> Simulator:
    return await start_simulator(settings=SimulatorSettings(script=parse_text("gap_ms=0"), fixtures=(RECORDINGS,)))


@pytest.fixture
async def start_gateway(simulator: Simulator, database_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts gateways on one database; keyword arguments are settings by their environment names."""
    async with AsyncExitStack() as stack:

        async def start(**environ: str) -> Gateway:
            gateway = await run_gateway(simulator, database_url, tmp_path / "data", environ)
            stack.push_async_callback(gateway.close)
            return gateway

        yield start


@pytest.fixture
async def gateway(start_gateway: Start) -> Gateway:
    """A gateway in open mode with a key for each provider."""
    return await start_gateway()


def open_client(url: str, timeout_s: float = 30, **options: Any) -> httpx.AsyncClient:
    """A client for plain HTTP."""
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, **PLAIN, **options)


@asynccontextmanager
async def serving(database_url: str, data_dir: Path, **environ: str) -> AsyncIterator[Gateway]:
    """A gateway and its providers without fixtures, for a whole module of tests; `environ` as with `run_gateway`."""
    providers = await _start_providers()
    try:
        gateway = await run_gateway(providers, database_url, data_dir, environ)
        try:
            yield gateway
        finally:
            await gateway.close()
    finally:
        await providers.close()


async def run_gateway(simulator: Simulator, database_url: str, data_dir: Path, environ: dict[str, str]) -> Gateway:
    """Start a gateway whose providers are all `simulator`; `environ` holds settings by their environment names."""
    base = simulator.base_url
    given = {f"{name.upper()}_API_KEY": "test-key" for name in PROVIDERS}
    given |= {f"{name.upper()}_BASE_URL": base + ("/v1" if name == "openai" else "") for name in PROVIDERS}
    settings = load(given | {"PORT": "0", "DATA_DIR": str(data_dir)} | environ, env_file=None)
    runner = web.AppRunner(build(settings, database_url), handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    listener = listen(settings)
    door = Door(runner, listener, MOST_CONNECTIONS)
    await door.start()
    url = address(listener)
    return Gateway(url, open_client(url), simulator, database_url, door, runner)
