"""What is found again after a process died, or a file was damaged."""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.turn import TurnRecord
from gateway.store.journal import Journal
from gateway.store.journal_disk import FileLock, JournalBroken
from tests.store.disks import Disk
from tests.store.journal_left import PLENTY, by_conversation, found, killed
from tests.store.journal_turns import begun, record, rich_reply


def check_what_was_kept(turns: dict[str, TurnRecord], name: str) -> None:
    assert turns[f"{name}-ended"].ended.reply.content == "انتهى"
    assert turns[f"{name}-ended"].ended.status == "completed"
    speaking = turns[f"{name}-speaking"].ended
    assert (speaking.status, speaking.reply) == ("interrupted", rich_reply())
    assert speaking.error is not None
    assert speaking.error.retryable
    assert {turns[f"{name}-{kind}"].ended.status for kind in ("silent", "last", "newest")} == {"interrupted"}
    assert turns[f"{name}-silent"].ended.reply.content == ""


async def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, "0")
    turns = by_conversation(await found(tmp_path))
    assert len(turns) == 5
    check_what_was_kept(turns, "0")
    assert await found(tmp_path) == []


async def test_what_other_dead_processes_left_is_adopted_and_their_files_go(tmp_path: Path) -> None:
    await killed(tmp_path, "1", "2", "3")
    turns = by_conversation(await found(tmp_path))
    assert len(turns) == 15
    for name in ("1", "2", "3"):
        check_what_was_kept(turns, name)
    assert list(tmp_path.iterdir()) == []


async def test_a_living_process_keeps_its_file(tmp_path: Path) -> None:
    living = await Journal.open(tmp_path, "1", max_bytes=PLENTY)
    await living.begin(turn := begun("conv-alive"))
    assert await found(tmp_path) == []
    await living.end(record(turn, "ما زلت هنا"))
    await living.close()
    assert [one.ended.reply.content for one in await found(tmp_path)] == ["ما زلت هنا"]


async def test_a_name_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.journal_file._LOCK_PATIENCE_S", 0)
    living = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    with pytest.raises(JournalBroken, match="in use by another process"):
        await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    await living.close()


async def test_adopting_survives_being_killed_itself(tmp_path: Path) -> None:
    """Some turns are then in two files: they are the same turns."""
    await killed(tmp_path, "1")
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    assert await journal.adopt() is not None
    await journal.close()
    assert (tmp_path / "1.sqlite").exists(), "not deleted before all of it is safe"
    assert len(by_conversation(await found(tmp_path))) == 5


async def test_what_cannot_be_adopted_for_want_of_room_stays_where_it_is(tmp_path: Path) -> None:
    await killed(tmp_path, "1")
    disk = Disk()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY, sync=disk.sync)
    disk.broken = True
    with pytest.raises(JournalBroken):
        await journal.adopt()
    assert len(by_conversation(await found(tmp_path, "1"))) == 5, "its lock was let go of"
    await journal.close()


async def test_many_turns_are_adopted_in_slices_and_in_order(tmp_path: Path) -> None:
    dead = await Journal.open(tmp_path, "1", max_bytes=PLENTY)
    await dead.end(*(record(conversation=f"conv-{number:04}") for number in range(2500)))
    await dead.close()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    slices = []
    while (moved := await journal.adopt()) is not None:
        slices.append(moved.total())
        await journal.begin(begun())
    assert sum(slices) == 2500
    assert max(slices) <= 500
    order = [row.record.begun.conversation_id for row in await journal.read(5000, PLENTY)]
    assert order == sorted(order)
    assert journal.spooled == 2500
    await journal.close()


async def _with_turns(tmp_path: Path, count: int = 200) -> Path:
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    await journal.end(*(record(conversation=f"conv-{number:04}", content="نص " * 300) for number in range(count)))
    await journal.close()
    return tmp_path / "0.sqlite"


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(50_000))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096 + 100)


def _middle_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def _later_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _somebody_elses(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE spool (seq INTEGER PRIMARY KEY)")
    connection.close()


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _lost_but_its_log(path: Path) -> None:
    path.write_bytes(b"")
    path.with_name("0.sqlite-wal").write_bytes(b"x" * 5000)


@pytest.mark.parametrize(
    ("damage", "least"),
    [
        (_garbage, 0),
        (_cut, 20),
        (_middle_page, 150),
        (_later_version, 200),
        (_somebody_elses, 0),
        (_a_folder, 0),
        (_lost_but_its_log, 0),
    ],
)
@pytest.mark.parametrize("own", [True, False], ids=["own", "foreign"])
async def test_a_damaged_file_is_set_aside_loudly_and_read_as_far_as_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], least: int, own: bool
) -> None:
    path = await _with_turns(tmp_path)
    damage(path)
    turns = by_conversation(await found(tmp_path, "0" if own else "1"))
    assert least <= len(turns) <= 200
    assert all(one.ended.reply.content == "نص " * 300 for one in turns.values())
    [aside] = [one for one in tmp_path.iterdir() if ".corrupt-" in one.name and not one.name.endswith(("-wal", "-shm"))]
    assert any(line.levelname == "ERROR" and aside.name in line.getMessage() for line in caplog.records)
    caplog.clear()
    assert await found(tmp_path, "0" if own else "1") == []
    assert not caplog.records, "said once"


async def test_an_empty_file_is_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "0.sqlite").touch()
    assert await found(tmp_path) == []
    assert not caplog.records


async def test_a_row_that_is_no_turn_is_kept_apart_and_blocks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = await _with_turns(tmp_path, 10)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE spool SET record = '{' WHERE seq IN (1, 2, 5)")
    connection.close()
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    assert len(await journal.read(2, PLENTY)) == 2
    assert len(await journal.read(100, PLENTY)) == 7
    assert (journal.spooled, journal.refused) == (7, 3)
    assert sum("cannot be read" in line.getMessage() for line in caplog.records) == 3
    await journal.close()


async def test_a_file_damaged_while_in_use_is_replaced_and_running_turns_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await Journal.open(tmp_path, "0", max_bytes=PLENTY)
    await journal.begin(running := begun("conv-running"))
    await journal.begin(begun("conv-silent"))
    for number in range(40):
        await journal.end(record(conversation=f"conv-{number:04}", content="ن" * 100_000))
    path = tmp_path / "0.sqlite"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * (size // 4))
    waiting = await journal.read(1000, PLENTY)
    assert 5 < len(waiting) < 41
    assert all(row.record.ended.reply.content == "ن" * 100_000 for row in waiting)
    assert journal.ok
    assert any("was set aside" in line.getMessage() for line in caplog.records)
    await journal.discard(waiting)
    await journal.end(record(running, "تم"))
    await journal.close()
    left = by_conversation(await found(tmp_path))
    assert {name: one.ended.status for name, one in left.items()} == {"conv-running": "completed", "conv-silent": "interrupted"}


def test_a_lock_on_a_file_that_was_just_removed_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_file, real = tmp_path / "0.lock", fcntl.flock

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        lock_file.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    lock = FileLock.take(tmp_path / "0.sqlite")
    assert lock is not None
    assert FileLock.take(tmp_path / "0.sqlite") is None
    lock.release()
