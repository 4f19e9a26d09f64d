"""What processes that were killed leave in the journal's folder."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from gateway.core.turn import TurnRecord
from gateway.store.journal import Journal

PLENTY = 1 << 30
ROOT = Path(__file__).resolve().parents[2]


async def killed(directory: Path, *names: str) -> None:
    """Let processes keep turns in the folder, all at the same time, and kill them in the middle of it."""
    command = (sys.executable, "-m", "tests.store.journal_child", str(directory))
    children = [await asyncio.create_subprocess_exec(*command, name, cwd=ROOT, stdout=subprocess.PIPE) for name in names]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    for child in children:
        child.kill()
        await child.wait()


def snapshot(folder: Path) -> Path:
    """The folder as a kill of its process would leave it now; its thread must be at rest, or wait for the disk."""
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-killed")))


def beside(folder: Path) -> list[int]:
    """Bytes in the two files that turns are in before the journal's own."""
    return sorted(path.stat().st_size for path in folder.glob("*.begun-*"))


async def found(directory: Path, name: str = "0") -> list[TurnRecord]:
    """All that the next process finds in the folder; it then takes it for written."""
    journal = await Journal.open(directory, name, max_bytes=PLENTY)
    while await journal.adopt() is not None:
        pass
    records: list[TurnRecord] = []
    while waiting := await journal.read(1000, PLENTY):
        records.extend(row.record for row in waiting)
        await journal.discard(waiting)
    await journal.close()
    return records


def by_conversation(records: list[TurnRecord]) -> dict[str, TurnRecord]:
    named = {one.begun.conversation_id: one for one in records}
    assert len(named) == len(records)
    return named
