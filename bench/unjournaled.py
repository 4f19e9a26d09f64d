"""`run.py` with a journal that keeps nothing: for measuring what the real one costs, and for nothing else.

A turn that PostgreSQL does not take is lost here. All else is the gateway's own.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

import run
from gateway import app
from gateway.core.turn import Reply, TurnBegun, TurnRecord
from gateway.store.journal_values import Waiting


class NoJournal:
    """Has the methods of `gateway.store.journal.Journal`, and no file, thread or memory behind them."""

    spooled = refused = live_bytes = 0
    ok = True

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()

    @classmethod
    async def open(cls, *_: object, **__: object) -> "NoJournal":
        return cls()

    async def begin(self, begun: TurnBegun) -> None:
        pass

    def progress(self, turn_id: str, reply: Reply) -> None:
        pass

    def forget(self, turn_ids: Iterable[str]) -> None:
        pass

    async def end(self, *records: TurnRecord, refused: bool = False) -> None:
        pass

    async def read(self, limit: int, max_bytes: int) -> list[Waiting]:
        return []

    async def discard(self, waiting: Sequence[Waiting]) -> None:
        pass

    async def refuse(self, waiting: Sequence[Waiting]) -> None:
        pass

    async def adopt(self) -> Counter[str] | None:
        return None

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    vars(app)["Journal"] = NoJournal
    sys.exit(run.main())
