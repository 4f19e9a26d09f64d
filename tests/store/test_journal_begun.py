"""Turns that were accepted just now: kept at once, whatever the thread and the disk are doing, and found after a kill."""

import asyncio
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.store.journal import Journal
from tests.store.disks import Disk
from tests.store.journal_left import PLENTY, ROOT, by_conversation, found, killed
from tests.store.journal_turns import begun, record


def beside(folder: Path) -> list[int]:
    """Bytes in the two files."""
    return sorted(path.stat().st_size for path in folder.glob("*.begun-*"))


async def test_a_turn_that_ends_at_once_leaves_nothing(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0)
    for _ in range(50):
        turns = [begun() for _ in range(5)]
        for turn in turns:
            await journal.begin(turn)
        journal.forget(turn.turn_id for turn in turns)
        await asyncio.sleep(0)
    assert journal.live_bytes == 0
    for _ in range(3):  # each may find the thread busy with one of the files
        await journal.read(1, 1)
    assert beside(tmp_path) == [0, 0], "what people ask is not left lying about"
    await journal.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_turn_begins_while_the_disk_hangs_and_is_found_after_a_kill(tmp_path: Path) -> None:
    disk = Disk(free=False)
    journal = await Journal.open(tmp_path, "1", max_bytes=PLENTY, gather_s=0, sync=disk.sync)
    ending = asyncio.create_task(journal.end(record(conversation="conv-ended")))
    await asyncio.to_thread(disk.entered.wait)
    for number in range(20):
        await journal.begin(begun(f"conv-{number}"))
        await asyncio.sleep(0)
    assert not ending.done()
    assert sum(beside(tmp_path)) > 20 * 300
    disk.free.set()
    await ending
    await journal.close()
    turns = by_conversation(await found(tmp_path))
    assert {name for name, one in turns.items() if one.ended.status == "interrupted"} == {f"conv-{n}" for n in range(20)}


async def test_a_disk_that_was_slow_holds_up_no_stream_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.journal_begun._SLOW_S", 0)
    disk = Disk(free=False)
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0, sync=disk.sync)
    await journal.begin(begun("conv-slow"))
    ending = asyncio.create_task(journal.end(record(conversation="conv-ended")))
    await asyncio.to_thread(disk.entered.wait)
    beginning = asyncio.create_task(journal.begin(begun("conv-patient")))
    await asyncio.sleep(0.01)
    assert not beginning.done(), "it waits on the thread, where nobody else does"
    disk.free.set()
    await asyncio.gather(ending, beginning)
    await journal.close()
    assert set(by_conversation(await found(tmp_path))) == {"conv-slow", "conv-ended", "conv-patient"}


@pytest.mark.parametrize("cut", [1, 20, 400, 700])
async def test_a_file_cut_short_is_read_up_to_there(tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int) -> None:
    await killed(tmp_path, "0")
    [path] = [path for path in tmp_path.glob("*.begun-*") if path.stat().st_size]
    whole = path.read_bytes()
    path.write_bytes(whole * 2 + whole[:-cut])
    turns = by_conversation(await found(tmp_path))
    assert turns["0-newest"].ended.status == "interrupted"
    assert len(turns) == 5
    assert (f"of {path} are no whole turn" in caplog.text) == (cut < len(whole))


async def test_damage_to_the_journal_does_not_take_what_is_beside_it(tmp_path: Path) -> None:
    for name in ("0", "1"):
        await killed(tmp_path, name)
        (tmp_path / f"{name}.sqlite").write_bytes(b"no journal " * 1000)
    turns = by_conversation(await found(tmp_path))
    assert {"0-newest", "1-newest"} <= set(turns)


async def test_whenever_processes_are_killed_all_that_they_promised_is_found(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.store.journal_busy_child", str(tmp_path))
    names = [str(number) for number in range(1, 7)]
    children = [
        await asyncio.create_subprocess_exec(*command, name, name, cwd=ROOT, stdout=asyncio.subprocess.PIPE) for name in names
    ]
    promised: dict[str, set[str]] = defaultdict(set)
    for number, child in enumerate(children):
        assert child.stdout is not None
        for _ in range(150 * (number + 1)):
            what, turn = (await child.stdout.readline()).decode().split()
            promised[what].add(turn)
        child.kill()
        for line in (await child.stdout.read()).decode().splitlines():
            what, turn = line.split()
            promised[what].add(turn)
        await child.wait()
    statuses = {name: one.ended.status for name, one in by_conversation(await found(tmp_path)).items()}
    running = promised["begun"] - promised["ended"] - promised["gone"]
    assert promised["ended"] <= {name for name, status in statuses.items() if status == "completed"}
    assert running <= set(statuses)
    assert len(running) > 100
    assert list(tmp_path.iterdir()) == []
