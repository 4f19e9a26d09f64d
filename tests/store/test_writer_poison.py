"""A turn that fails in a way that says nothing about its data, again and again, while others get through."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from gateway.core.turn import TurnRecord
from gateway.store.base import StoreUnavailable
from gateway.store.drain import Pace
from gateway.store.failures import is_doubtful
from tests.store.journal_turns import FakeStore, record
from tests.store.writing import until, writing

POISON = "سمّ"


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def failing(cause: BaseException) -> StoreUnavailable:
    """What the store raises for an error of the server's."""
    error = StoreUnavailable("the database cannot serve now")
    error.__cause__ = cause
    return error


def poisoned(cause: BaseException) -> Callable[[Sequence[TurnRecord]], Exception | None]:
    """A script: what has the poison in it fails, a look at the database does not."""
    error = failing(cause)
    return lambda records: error if any(POISON in item.ended.reply.content for item in records) else None


@pytest.mark.parametrize("cause", [asyncpg.RaiseError("P0001"), asyncpg.QueryCanceledError(""), TimeoutError()], ids=repr)
async def test_it_is_kept_apart_and_blocks_nobody(tmp_path: Path, store: FakeStore, cause: BaseException) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = poisoned(cause)
        turns = [record(content=POISON if number == 3 else str(number)) for number in range(40)]
        await asyncio.gather(*(writer.put(turn) for turn in turns))
        await until(lambda: writer.spooled == 0)
        assert writer.refused == 1
        assert len(store.rows) == 39
        assert writer.database_up
        assert (await writer.put(record())).message_id is not None


async def test_a_statement_that_never_ends_is_one_too(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store, store_wait_s=0.01, pace=Pace(0.001, 0.01, try_s=0.05)) as writer:
        store.held = lambda records: any(POISON in item.ended.reply.content for item in records)
        store.gate.clear()
        await asyncio.gather(*(writer.put(record(content=text)) for text in (POISON, "1", "2", "3", "4")))
        await until(lambda: writer.spooled == 0)
        assert writer.refused == 1
        assert len(store.rows) == 4
        store.gate.set()


async def test_alone_it_waits_for_another_to_be_measured_by(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = poisoned(asyncpg.RaiseError(""))
        await writer.put(record(content=POISON))
        await store.until(lambda: len(store.calls) > 12)
        assert (writer.spooled, writer.refused) == (1, 0)
        for _ in range(3):
            await writer.put(record())
        await until(lambda: writer.spooled == 0)
        assert writer.refused == 1
        assert len(store.rows) == 3


async def test_when_all_fail_nobody_is_to_blame(tmp_path: Path, store: FakeStore) -> None:
    async with writing(tmp_path, store) as writer:
        store.script = lambda records: failing(asyncpg.RaiseError("")) if records else None
        await asyncio.gather(*(writer.put(record()) for _ in range(5)))
        await store.until(lambda: len(store.calls) > 30)
        assert (writer.spooled, writer.refused) == (5, 0)
        store.script = lambda _records: None
        await until(lambda: writer.spooled == 0)
        assert len(store.rows) == 5


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(),
        asyncpg.InterfaceError(""),
        asyncpg.AdminShutdownError(""),
        asyncpg.ReadOnlySQLTransactionError(""),
        asyncpg.TooManyConnectionsError(""),
        asyncpg.DiskFullError(""),
        asyncpg.UndefinedTableError(""),
        asyncpg.InvalidPasswordError(""),
        asyncpg.DeadlockDetectedError(""),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_what_is_no_turns_fault(cause: BaseException) -> None:
    assert not is_doubtful(failing(cause))
    assert not is_doubtful(StoreUnavailable("the schema is still being prepared"))
