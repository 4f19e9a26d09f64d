"""A running simulator for each test: no pauses, the project's recordings within reach."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from simulator import Settings, Simulator, parse_text, start_simulator
from tests.simulator.asking import RECORDINGS


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    simulator = await start_simulator(settings=Settings(script=parse_text("gap_ms=0"), fixtures=(RECORDINGS,)))
    yield simulator
    await simulator.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
