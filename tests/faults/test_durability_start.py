"""What cannot start says why, in one line, and leaves nothing running."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.faults.database import Database, execute
from tests.faults.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(folder: Path, **settings: str) -> str:
    """The one line with which a start ends."""
    server = Server(folder, "http://127.0.0.1:1", settings)
    await server.launch()
    try:
        status = await server.ended()
    finally:
        await server.close()
    lines = [line for line in server.text.splitlines() if not re.match(r"\d\d:\d\d:\d\d (WARNING|INFO)", line)]
    assert (status, len(lines)) == (2, 1), server.text
    assert lines[0].startswith("gateway: cannot start: ")
    return lines[0].removeprefix("gateway: cannot start: ")


async def test_what_cannot_start_says_why(database: Database, place: Path) -> None:
    foreign = await database.fresh()
    await execute(foreign, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "CREATE VIEW conversations AS SELECT 1 AS id")
    (place / "blocked" / "journal").parent.mkdir()
    (place / "blocked" / "journal").touch()
    absent = "postgresql://u:p@127.0.0.1:1/x"
    first = Server(place / "used", "http://127.0.0.1:1", {"DATABASE_URL": absent})
    await first.start()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                "DATABASE_URL: takes an address such as": told(place / "1", DATABASE_URL="mysql://u:secret@h/x"),
                "schema/0001_initial.sql: the database refuses it: ": told(place / "2", DATABASE_URL=foreign),
                "the journal's folder ": told(place / "4", DATABASE_URL=absent, DATA_DIR=str(place / "blocked")),
                f"DATA_DIR: {first.data} is in use by another server": told(place / "5", DATA_DIR=str(first.data)),
            }
            running = {begin: group.create_task(task) for begin, task in tasks.items()}
        for begin, task in running.items():
            assert task.result().startswith(begin)
            assert "secret" not in task.result()
        assert await first.stop() == 0
    finally:
        await first.close()


AS_NOBODY = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import run
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
sys.exit(run.main(["--port=0", "--data-dir=" + sys.argv[1]]))
"""


async def test_a_folder_that_cannot_be_written(place: Path) -> None:
    folder = place / "read-only"
    folder.mkdir(mode=0o555)
    environ = {"PATH": os.defpath, "DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}
    command = [sys.executable, "-c", AS_NOBODY, str(folder)]
    done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"gateway: cannot start: DATA_DIR: {folder} cannot be used: Permission denied\n"
