"""Turns that were accepted just now: what is found of them after a kill, whatever was damaged or adopted meanwhile."""

import asyncio
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.store.journal import Journal
from gateway.store.journal_begun import remove
from gateway.store.journal_disk import JournalBroken
from tests.store.disks import Disk
from tests.store.journal_left import PLENTY, ROOT, beside, by_conversation, found, killed, snapshot
from tests.store.journal_turns import begun, record, reply


def damage(journal: Path) -> None:
    journal.write_bytes(b"no journal " * 1000)
    journal.with_name(f"{journal.name}-wal").unlink()


async def until_written(journal: Journal) -> None:
    """Wait for what the journal was asked to write before."""
    await journal.read(1, 1)


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
        damage(tmp_path / f"{name}.sqlite")
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
        *whole, _ = (await child.stdout.read()).decode().split("\n")  # it may be killed in the middle of a line
        for line in whole:
            what, turn = line.split()
            promised[what].add(turn)
        await child.wait()
    statuses = {name: one.ended.status for name, one in by_conversation(await found(tmp_path)).items()}
    running = promised["begun"] - promised["ended"] - promised["gone"]
    assert promised["ended"] <= {name for name, status in statuses.items() if status == "completed"}
    assert running <= set(statuses)
    assert len(running) > 100
    assert list(tmp_path.iterdir()) == []


async def test_what_a_dead_process_left_beside_a_lost_journal_is_adopted(tmp_path: Path) -> None:
    """Its journal was set aside, and whoever did that could not write down what it found."""
    await killed(tmp_path, "1")
    damage(tmp_path / "1.sqlite")
    disk = Disk()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, sync=disk.sync)
    disk.broken = True
    with pytest.raises(JournalBroken):
        await journal.adopt()
    await journal.close()
    (tmp_path / "0.sqlite").unlink()
    assert set(by_conversation(await found(tmp_path))) == {"1-newest"}
    assert beside(tmp_path) == []


async def test_adopting_that_ends_between_two_files_leaves_none_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed(tmp_path, "1")

    def killed_here(journal: Path) -> None:
        if journal.stem == "1":
            raise OSError(journal)
        remove(journal)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.journal_begun.remove", killed_here)
        turns = await found(tmp_path)
    assert len(turns) == 5
    assert beside(tmp_path) != []
    assert await found(tmp_path) == turns
    assert list(tmp_path.iterdir()) == []


async def test_what_one_process_left_gets_nothing_of_what_another_wrote(tmp_path: Path) -> None:
    """An older server that came between does not read the two files, and numbers its turns from one as well."""
    before = await Journal.open(tmp_path / "before", "0", max_bytes=PLENTY, gather_s=3600)
    await before.begin(begun("conv-before"))
    between = await Journal.open(tmp_path / "between", "0", max_bytes=PLENTY, gather_s=3600)
    await between.begin(turn := begun("conv-between"))
    between.progress(turn.turn_id, reply("سرّ"))
    await asyncio.sleep(0.02)  # longer than what has come is gathered
    await until_written(between)
    left = snapshot(tmp_path / "between")
    shutil.copy(tmp_path / "before" / "0.begun-a", left)
    await before.close()
    await between.close()
    turns = by_conversation(await found(left))
    assert {name: one.ended.reply.content for name, one in turns.items()} == {"conv-before": "", "conv-between": "سرّ"}


async def test_turns_are_found_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    disk = Disk()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=3600, sync=disk.sync)
    await journal.begin(begun("conv-0"))
    await until_written(journal)  # the other file is in use from then on
    await journal.begin(begun("conv-1"))
    disk.free.clear()
    ending = asyncio.create_task(journal.end(record()))
    await asyncio.to_thread(disk.entered.wait)
    reading = asyncio.create_task(until_written(journal))  # and now the first one again
    await asyncio.sleep(0)
    await journal.begin(begun("conv-2"))
    left = await found(snapshot(tmp_path))
    assert [one.begun.conversation_id for one in left if one.ended.status == "interrupted"] == ["conv-0", "conv-1", "conv-2"]
    disk.free.set()
    await asyncio.gather(ending, reading)
    await journal.close()


async def test_a_process_that_is_killed_again_and_again_forgets_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    for number in range(4):
        journal = await Journal.open(folder, "0", max_bytes=PLENTY, gather_s=3600)
        for kind in ("moved", "speaking"):
            await journal.begin(turn := begun(f"conv-{kind}-{number}"))
        journal.progress(turn.turn_id, reply(f"نص {number}"))
        await asyncio.sleep(0.02)  # longer than what has come is gathered
        await until_written(journal)
        await journal.begin(begun(f"conv-newest-{number}"))
        left = snapshot(folder)
        await journal.close()
        folder = left
    turns = by_conversation(await found(folder))
    assert {name: one.ended.reply.content for name, one in turns.items()} == {
        f"conv-{kind}-{number}": f"نص {number}" if kind == "speaking" else ""
        for kind in ("moved", "speaking", "newest")
        for number in range(4)
    }
