"""Fixtures of this room: OpenAI's own clients, unmodified, with the gateway as their base URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.programs import Node, fetch, run_program
from tests.lazily import Lazily
from tests.running import PLAIN, Gateway

if TYPE_CHECKING:
    import openai
else:
    openai = Lazily("openai")

HERE = Path(__file__).parent
MODELS = ("openai/gpt-6-luna", "anthropic/claude-haiku-5-5", "groq/openai/gpt-oss-120b", "google/gemini-3.8-flash")

Client = Callable[..., "openai.AsyncOpenAI"]


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., openai.AsyncOpenAI]]:
    """Makes clients of a gateway; keyword arguments are the client's own."""
    async with AsyncExitStack() as stack:

        def make(gateway: Gateway, **options: Any) -> openai.AsyncOpenAI:
            given: dict[str, Any] = {"base_url": f"{gateway.url}/v1", "api_key": "any", "max_retries": 0}
            http = options.pop("http_client", None) or openai.DefaultAsyncHttpxClient(**PLAIN)
            made = openai.AsyncOpenAI(http_client=http, **given | options)
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
def client(gateway: Gateway, client_of: Client) -> openai.AsyncOpenAI:
    """A client of `gateway`."""
    return client_of(gateway)


@pytest.fixture(scope="session")
def openai_packages() -> None:
    """What package-lock.json names."""
    fetch(HERE)


@pytest.fixture
def openai_node(openai_packages: None) -> Node:
    """Runs one of this room's programs until it ends by itself; JSON in, JSON out."""
    return lambda program, given: run_program(HERE / program, given)
