"""Fixtures of this room."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cutting import Reception, reception
from tests.running import Gateway

HERE = Path(__file__).parent
PATIENCE_S = 90

Receive = Callable[..., Awaitable[Reception]]
Node = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


@pytest.fixture
async def receive(gateway: Gateway) -> AsyncIterator[Receive]:
    """Makes the way to the gateway a bad one; the arguments are behind how many bytes each answer's connection breaks."""
    async with AsyncExitStack() as stack:

        async def start(*cuts: int) -> Reception:
            return await stack.enter_async_context(reception(gateway.url, cuts))

        yield start


@pytest.fixture(scope="session")
def packages() -> None:
    """What package-lock.json names, beside it in node_modules, fetched when it is not there yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm: apt-get install nodejs npm")
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    fetched = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if fetched.returncode:
        pytest.skip(f"the npm registry is out of reach: {fetched.stderr.strip()[-300:]}")


@pytest.fixture
def node(packages: None) -> Node:
    """Runs one of this room's programs until it ends by itself; JSON in, JSON out."""

    async def run(program: str, given: dict[str, Any]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, complained = await process.communicate(json.dumps(given).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, complained.decode()
        told: dict[str, Any] = json.loads(said)
        return told

    return run
