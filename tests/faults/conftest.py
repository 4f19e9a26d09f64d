"""Fixtures of this room."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.engine import link
from simulator import Simulator
from tests.faults.durable import database, place, provider, serve, url
from tests.processes import launch
from tests.redis_server import RedisServer
from tests.running import Gateway, run_gateway

__all__ = ["database", "launch", "place", "provider", "serve", "url"]


StartPair = Callable[..., Awaitable[tuple[Gateway, Gateway]]]


@pytest.fixture
async def start_pair(
    simulator: Simulator, database_url: str, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartPair]:
    """Starts two gateways that share a database and a Redis; keyword arguments are settings by their environment names."""
    monkeypatch.setattr(link, "PULSE_S", 0.05)
    async with AsyncExitStack() as stack:

        async def start(**environ: str) -> tuple[Gateway, Gateway]:
            given = {"REDIS_URL": redis_server.url} | environ
            first, second = [await run_gateway(simulator, database_url, tmp_path / name, given) for name in ("one", "two")]
            for gateway in (first, second):
                stack.push_async_callback(gateway.close)
            return first, second

        yield start


@pytest.fixture
async def pair(start_pair: StartPair) -> tuple[Gateway, Gateway]:
    """Two gateways with nothing particular about them."""
    return await start_pair()
