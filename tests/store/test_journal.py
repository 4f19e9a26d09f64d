"""A running journal: what it promises when its methods return, and what it says when it cannot keep a promise."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.store.base import JournalFull
from gateway.store.journal import Journal
from gateway.store.journal_disk import JournalBroken
from tests.store.disks import Disk, no_file_longer_than
from tests.store.journal_turns import begun, record, reply

PLENTY = 1 << 30


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def journal(tmp_path: Path, disk: Disk) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal", "0", max_bytes=PLENTY, gather_s=0, sync=disk.sync)
    yield opened
    disk.free.set()
    disk.broken = False
    await opened.close()


async def fail_once(journal: Journal, disk: Disk) -> None:
    """Turns that begin after this are kept by the thread, until it has succeeded."""
    disk.broken = True
    with pytest.raises(JournalBroken):
        await journal.end(record(conversation="conv-ended"))
    await journal.discard(await journal.read(10, PLENTY))
    disk.broken = False
    disk.entered.clear()


def works(journal: Journal) -> bool:
    return journal.ok


async def contents(directory: Path, name: str = "0") -> list[tuple[str, str]]:
    """Conversation and status of the turns that the next process finds."""
    opened = await Journal.open(directory, name, max_bytes=PLENTY)
    try:
        while await opened.adopt() is not None:
            pass
        waiting = await opened.read(10_000, PLENTY)
        return [(row.record.begun.conversation_id, row.record.ended.status) for row in waiting]
    finally:
        await opened.close()


async def test_files_are_for_their_owner_alone(tmp_path: Path, journal: Journal) -> None:
    await journal.begin(begun())
    folder = tmp_path / "journal"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_a_running_turn_counts_until_it_is_forgotten(journal: Journal) -> None:
    turns = [begun() for _ in range(300)]
    await asyncio.gather(*(journal.begin(turn) for turn in turns))
    assert journal.live_bytes > 300 * 300
    journal.progress(turns[0].turn_id, reply("نص طويل " * 100))
    journal.forget(turn.turn_id for turn in turns)
    await journal.begin(last := begun())
    journal.forget((last.turn_id, "no such turn"))
    assert await journal.read(10, PLENTY) == []
    assert (journal.live_bytes, journal.spooled) == (0, 0)


async def test_ended_turns_are_read_back_in_order_until_discarded(journal: Journal) -> None:
    records = [record(content=f"جواب {number}") for number in range(10)]
    for one in records:
        await journal.begin(one.begun)
        await journal.end(one)
    assert journal.spooled == 10
    assert [row.record for row in await journal.read(4, PLENTY)] == records[:4]
    first = await journal.read(10, 1)
    assert [row.record for row in first] == records[:1], "a bound on bytes still lets one through"
    await journal.discard(await journal.read(4, PLENTY))
    assert [row.record for row in await journal.read(100, PLENTY)] == records[4:]
    await journal.discard(await journal.read(100, PLENTY))
    assert (journal.spooled, journal.live_bytes) == (0, 0)


async def test_what_comes_while_the_disk_is_busy_shares_the_next_transaction(journal: Journal, disk: Disk) -> None:
    disk.free.clear()
    first = asyncio.create_task(journal.end(record()))
    await asyncio.to_thread(disk.entered.wait)
    ends = [asyncio.create_task(journal.end(record())) for _ in range(100)]
    await asyncio.gather(*(journal.begin(begun()) for _ in range(100)))
    assert not any(task.done() for task in (first, *ends)), "an end waits for the disk, a begin does not"
    disk.free.set()
    await asyncio.gather(first, *ends)
    assert disk.flushes == 2
    assert journal.spooled == 101


async def test_a_begin_needs_no_flush(journal: Journal, disk: Disk) -> None:
    await asyncio.gather(*(journal.begin(begun()) for _ in range(10)))
    assert disk.flushes == 0


async def test_a_failing_flush_is_told_and_the_turn_can_be_ended_again(journal: Journal, disk: Disk) -> None:
    one = record()
    await journal.begin(one.begun)
    disk.broken = True
    with pytest.raises(JournalBroken, match="Input/output error"):
        await journal.end(one)
    assert not works(journal)
    disk.broken = False
    await journal.end(one)
    assert works(journal)
    assert [row.record for row in await journal.read(10, PLENTY)] == [one]
    await journal.discard(await journal.read(10, PLENTY))
    await journal.begin(begun())
    assert journal.spooled == 0


async def test_a_full_journal_refuses_new_turns_and_keeps_running_ones(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=10_000, gather_s=0)
    turns = [begun() for _ in range(100)]
    results = await asyncio.gather(*(journal.begin(turn) for turn in turns), return_exceptions=True)
    accepted = [turn for turn, result in zip(turns, results, strict=True) if result is None]
    refusals = [result for result in results if result is not None]
    assert 10 < len(accepted) < 30
    assert all(isinstance(refusal, JournalFull) for refusal in refusals)
    for turn in accepted:
        journal.progress(turn.turn_id, reply("س" * 10_000))
        await journal.end(record(turn, "س" * 10_000))
    assert journal.spooled == len(accepted)
    with pytest.raises(JournalFull):
        await journal.begin(begun())
    await journal.discard(await journal.read(100, PLENTY))
    await journal.begin(begun())
    await journal.close()


async def test_turns_on_their_way_to_the_disk_count_for_its_bound(tmp_path: Path, disk: Disk) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=20_000, gather_s=0, sync=disk.sync)
    disk.free.clear()
    ending = asyncio.create_task(journal.end(record()))
    await journal.begin(begun(question="س" * 3_000))
    await asyncio.to_thread(disk.entered.wait)
    await journal.begin(begun(question="س" * 3_000))
    await asyncio.sleep(0)
    await journal.begin(begun(question="س" * 3_000))
    with pytest.raises(JournalFull):
        await journal.begin(begun(question="س" * 3_000))
    disk.free.set()
    await ending
    await journal.close()


async def test_what_had_come_of_a_turn_goes_with_it(tmp_path: Path, journal: Journal, disk: Disk) -> None:
    await journal.begin(turn := begun())
    disk.free.clear()
    ending = asyncio.create_task(journal.end(record()))
    await asyncio.to_thread(disk.entered.wait)
    journal.progress(turn.turn_id, reply("نص"))
    await asyncio.sleep(0.01)
    journal.forget((turn.turn_id,))
    disk.free.set()
    await ending
    await journal.discard(await journal.read(10, PLENTY))
    await journal.close()
    assert list((tmp_path / "journal").iterdir()) == []


@pytest.mark.parametrize("underway", [True, False], ids=["underway", "queued"])
async def test_a_turn_whose_asker_leaves_early_is_not_kept(tmp_path: Path, journal: Journal, disk: Disk, underway: bool) -> None:
    await fail_once(journal, disk)
    disk.free.clear()
    ending = asyncio.create_task(journal.end(record(conversation="conv-ended")))
    if not underway:
        await asyncio.to_thread(disk.entered.wait)
    asked = [asyncio.create_task(journal.begin(begun())) for _ in range(3)]
    if underway:
        await asyncio.to_thread(disk.entered.wait)
    for task in asked:
        task.cancel()
    disk.free.set()
    await asyncio.gather(ending, *asked, return_exceptions=True)
    await journal.begin(begun("conv-last"))
    await journal.close()
    assert await contents(tmp_path / "journal") == [("conv-ended", "completed"), ("conv-last", "interrupted")]


async def test_a_disk_without_room_is_told_and_used_again_when_there_is_some(tmp_path: Path, journal: Journal) -> None:
    await journal.begin(kept := begun("conv-kept"))
    with no_file_longer_than(200_000):
        with pytest.raises(JournalBroken):
            await journal.begin(begun(question="س" * 200_000))
        with pytest.raises(JournalBroken):
            await journal.end(record(kept, "س" * 200_000))
        assert not works(journal)
    await journal.begin(begun("conv-later"))
    assert works(journal)
    await journal.end(record(kept, "س" * 200_000))
    await journal.discard(await journal.read(10, PLENTY))
    await journal.close()
    assert await contents(tmp_path / "journal") == [("conv-later", "interrupted")]


async def test_refused_turns_are_kept_apart_and_tried_again_at_the_next_start(tmp_path: Path, journal: Journal) -> None:
    await journal.end(record(conversation="conv-bad"), refused=True)
    await journal.end(record(conversation="conv-worse"), record(conversation="conv-good"))
    await journal.refuse([row for row in await journal.read(10, PLENTY) if row.record.begun.conversation_id == "conv-worse"])
    assert (journal.spooled, journal.refused) == (1, 2)
    assert [row.record.begun.conversation_id for row in await journal.read(10, PLENTY)] == ["conv-good"]
    await journal.close()
    assert [name for name, _ in await contents(tmp_path / "journal")] == ["conv-good", "conv-bad", "conv-worse"]


async def test_a_closed_journal_with_nothing_in_it_leaves_no_file_behind(tmp_path: Path, journal: Journal) -> None:
    await journal.begin(turn := begun())
    journal.forget((turn.turn_id,))
    await journal.close()
    assert list((tmp_path / "journal").iterdir()) == []
    with pytest.raises(JournalBroken):
        await journal.begin(begun())


async def test_a_journal_that_was_large_gives_the_disk_back(tmp_path: Path, journal: Journal) -> None:
    for number in range(20):
        await journal.end(record(content=f"{number}" + "ك" * 2_000_000))
    while waiting := await journal.read(5, PLENTY):
        await journal.discard(waiting)
    assert (tmp_path / "journal" / "0.sqlite").stat().st_size < 1_000_000


def _in_a_file(folder: Path) -> Path:
    folder.write_text("لست مجلدًا")
    return folder / "journal"


def _missing(folder: Path) -> Path:
    return Path("/proc/nowhere/journal")


@pytest.mark.parametrize("place", [_in_a_file, _missing])
async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    directory = place(tmp_path / "data")
    with pytest.raises(JournalBroken, match=str(directory)):
        await Journal.open(directory, "0", max_bytes=PLENTY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write there")
def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(0o755)
    code = (
        "import asyncio, os, sys, pathlib\n"
        "from gateway.store.journal import Journal\n"
        "os.setuid(65534)\n"
        f"asyncio.run(Journal.open(pathlib.Path({str(tmp_path)!r}) / 'journal', '0', max_bytes=1))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"the journal's folder {tmp_path}/journal cannot be used: Permission denied" in result.stderr
