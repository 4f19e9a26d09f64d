"""Who hears of every turn of this process; called on the event loop, so it must be quick."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVarTuple, Unpack

from gateway.core.turn import TurnRecord
from gateway.engine.live import LiveTurn
from gateway.store.base import Receipt

log = logging.getLogger(__name__)

Begun = Callable[[LiveTurn], None]
"""A turn was accepted, and is in the journal."""
Ended = Callable[[LiveTurn, TurnRecord, Receipt], None]
"""It ended and is logged; whose turn could not be logged is told by `LiveTurn.when_ended` alone."""

What = TypeVarTuple("What")


def tell(watchers: Iterable[Callable[[Unpack[What]], None]], *what: *What) -> None:
    """Tell each of them."""
    for watcher in watchers:
        try:
            watcher(*what)
        except Exception:
            # Whoever looks on must not break what is looked at.
            log.exception("a watcher of turns failed")
