"""A writer on a real journal and a store that does what the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from gateway.core.turn import TurnRecord
from gateway.store.base import Store, StoreUnavailable
from gateway.store.drain import Pace
from gateway.store.journal import Journal
from gateway.store.journal_db import sync_data
from gateway.store.writer import Writer
from tests.store.journal_turns import FakeStore

PLENTY = 1 << 30
SWIFT = Pace(first_s=0.001, longest_s=0.02, try_s=10)


@asynccontextmanager
async def writing(
    folder: Path, store: object, *, sync: Callable[[int], None] = sync_data, started: bool = True, **options: Any
) -> AsyncIterator[Writer]:
    """A writer, recovered and at rest; closed at the end, with its journal, and found to have left no task."""
    before = asyncio.all_tasks()
    journal = await Journal.open(folder, "0", max_bytes=PLENTY, sync=sync)
    writer = Writer(cast("Store", store), journal, **{"pace": SWIFT, **options})
    if started:
        await writer.start(60)
    try:
        yield writer
    finally:
        await writer.close(0.1)
        await journal.close()
        assert getattr(store, "misuses", []) == []
        assert asyncio.all_tasks() - before <= {asyncio.current_task()}


async def until(condition: Callable[[], object]) -> None:
    """Wait, not for ever, for something that no event tells."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def away(_records: Sequence[TurnRecord]) -> Exception:
    """A script: the database cannot be reached."""
    return StoreUnavailable("connection refused")


def there(_records: Sequence[TurnRecord]) -> None:
    """A script: the database answers."""


def texts(store: FakeStore) -> list[str]:
    """The replies in the order in which they were first written."""
    return [record.ended.reply.content for record in store.rows.values()]
