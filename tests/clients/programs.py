"""Programs for Node, with the packages that their lock file names."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 90
FETCH_S = 300

Node = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


def fetch(folder: Path) -> None:
    """What the folder's package-lock.json names, beside it in node_modules, fetched when it is not there yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm: apt-get install nodejs npm")
    wanted, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with alone_in(folder):
        if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    if fetched.returncode:
        pytest.skip(f"the npm registry is out of reach: {fetched.stderr.strip()[-300:]}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Tests that run in other processes wait here until this one is through."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


async def run_program(program: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Run a program until it ends by itself; JSON in, JSON out."""
    process = await asyncio.create_subprocess_exec(
        "node", str(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
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
