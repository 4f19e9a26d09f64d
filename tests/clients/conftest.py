"""Fixtures of this room."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clients.cutting import Reception, reception
from tests.clients.programs import Node as Node
from tests.clients.programs import fetch, run_program
from tests.running import Gateway

HERE = Path(__file__).parent

Receive = Callable[..., Awaitable[Reception]]


@pytest.fixture
async def receive(gateway: Gateway) -> AsyncIterator[Receive]:
    """Makes the way to the gateway a bad one; the arguments are behind how many bytes each answer's connection breaks."""
    async with AsyncExitStack() as stack:

        async def start(*cuts: int) -> Reception:
            return await stack.enter_async_context(reception(gateway.url, cuts))

        yield start


@pytest.fixture(scope="session")
def packages() -> None:
    """What package-lock.json names."""
    fetch(HERE)


@pytest.fixture
def node(packages: None) -> Node:
    """Runs one of this room's programs."""
    return lambda program, given: run_program(HERE / program, given)
