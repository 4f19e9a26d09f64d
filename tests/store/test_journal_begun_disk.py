"""Turns that were accepted just now are kept, or refused, whatever the thread and the disk are doing."""

import asyncio
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.store.journal import Journal
from gateway.store.journal_begun import JustBegun
from gateway.store.journal_disk import JournalBroken
from tests.store.disks import Disk, no_file_longer_than
from tests.store.journal_left import PLENTY, beside, by_conversation, found, snapshot
from tests.store.journal_turns import begun, record


def broken(*_: object) -> NoReturn:
    raise OSError(5, "Input/output error")


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


@pytest.mark.parametrize("failure", ["flush", "empty"])
async def test_a_turn_is_kept_or_refused_whatever_fails_behind_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    disk = Disk()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0, sync=disk.sync)
    turns = {name: begun(f"conv-{name}") for name in ("moved", "ended", "kept", "later")}
    await journal.begin(turns["moved"])
    await journal.begin(turns["ended"])
    with monkeypatch.context() as patch:
        patch.setattr(JustBegun, "add", lambda *_: False)
        if failure == "flush":
            disk.broken = True
        else:
            patch.setattr("os.ftruncate", broken)
        reading = asyncio.create_task(journal.read(1, 1))  # empties the file, too
        ending = asyncio.create_task(journal.end(record(turns["ended"])))
        beginning = asyncio.create_task(journal.begin(turns["kept"]))
        outcomes = await asyncio.gather(ending, beginning, return_exceptions=True)
        await reading
    disk.broken = False
    assert isinstance(outcomes[0], JournalBroken)
    await journal.begin(turns["later"])
    await journal.end(record(turns["ended"]))
    assert beside(tmp_path)[0] == 0
    await journal.close()
    statuses = {name: one.ended.status for name, one in by_conversation(await found(tmp_path)).items()}
    expected = {"conv-moved": "interrupted", "conv-ended": "completed", "conv-later": "interrupted"}
    assert statuses == expected | ({"conv-kept": "interrupted"} if outcomes[1] is None else {})


async def test_a_file_that_ends_in_half_a_turn_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0.05)
    with monkeypatch.context() as patch, no_file_longer_than(100):
        patch.setattr("os.ftruncate", broken)
        with pytest.raises(JournalBroken):
            await journal.begin(begun("conv-refused"))
    assert beside(tmp_path) == [0, 100]
    await journal.begin(begun("conv-thread"))
    await journal.begin(begun("conv-file"))
    assert beside(tmp_path)[1] > 300
    assert set(by_conversation(await found(snapshot(tmp_path)))) == {"conv-thread", "conv-file"}
    await journal.close()


async def test_a_file_does_not_grow_without_bound_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.journal_begun._MOST_BYTES", 10_000)
    disk = Disk(free=False)
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0, sync=disk.sync)
    ending = asyncio.create_task(journal.end(record(conversation="conv-ended")))
    await asyncio.to_thread(disk.entered.wait)
    turns = [begun(question="س" * 1000) for _ in range(20)]
    beginning = [asyncio.create_task(journal.begin(turn)) for turn in turns]
    await asyncio.sleep(0.01)
    assert 5_000 < sum(beside(tmp_path)) < 20_000
    assert not all(task.done() for task in beginning)
    disk.free.set()
    await asyncio.gather(ending, *beginning)
    await journal.close()
    assert len(await found(tmp_path)) == 21


async def test_closing_loses_nothing_that_cannot_be_moved(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, gather_s=0)
    with no_file_longer_than(2000):
        await journal.begin(begun("conv-kept"))
        with pytest.raises(JournalBroken):
            await journal.end(record())
        await journal.close()
    assert list(by_conversation(await found(tmp_path))) == ["conv-kept"]
    assert list(tmp_path.iterdir()) == []
