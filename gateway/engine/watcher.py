"""Who hears of every turn of this process."""

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.core.turn import TurnRecord
from gateway.engine.live import LiveTurn
from gateway.store.base import Receipt

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Hears of every turn of this process; called on the event loop, so it must be quick."""

    def begun(self, turn: LiveTurn) -> None:
        """A turn was accepted."""
        ...

    def grown(self, turn: LiveTurn) -> None:
        """Its tape has grown."""
        ...

    def ended(self, turn: LiveTurn, record: TurnRecord, receipt: Receipt) -> None:
        """It ended and is logged."""
        ...


def tell(watchers: Iterable[Watcher], what: Callable[[Watcher], None]) -> None:
    """Tell each of them."""
    for watcher in watchers:
        try:
            what(watcher)
        except Exception:
            # Whoever looks on must not break what is looked at.
            log.exception("a watcher of turns failed")
