"""DATA_DIRs for embedded databases: empty, or with one from an earlier run in it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from gateway.store import postmaster
from gateway.store.embedded import EmbeddedPostgres

FAST = {"fsync": "off", "shared_buffers": "16MB"}
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A DATA_DIR that everyone may pass through; whatever still runs in it at the end is ended."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for process in psutil.process_iter():
        if postmaster.serves(process.pid, (folder / "postgres").resolve()):
            process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    """A DATA_DIR from an earlier run, to copy from."""
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder, FAST)
    server.start()
    server.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(empty_home: Path, used_home: Path) -> Path:
    """A DATA_DIR with a database that is not running."""
    subprocess.run(["/bin/cp", "-a", used_home / "postgres", empty_home / "postgres"], check=True)
    return empty_home


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(home, FAST)
    yield embedded
    embedded.stop()


async def ask(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()
