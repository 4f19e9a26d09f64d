"""Turns that ended lately, still in memory for readers who come back at once; later ones read the log."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.core.turn import TurnBegun
from gateway.engine.live import LiveTurn

KEPT_S: Final = 60.0
KEPT_BYTES: Final = 16 * 1024 * 1024
_OVERHEAD: Final = 8192


class KeptTurns:
    """Bounded by age and by bytes; oldest out first."""

    def __init__(self, seconds: float = KEPT_S, max_bytes: int = KEPT_BYTES) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._turns: OrderedDict[str, tuple[float, int, LiveTurn]] = OrderedDict()
        self._bytes = 0

    def add(self, turn: LiveTurn) -> None:
        """Keep an ended turn, letting go of those that are too old or too many."""
        now = time.monotonic()
        weight = _OVERHEAD + 4 * turn.fold.size
        self._turns[turn.begun.turn_id] = (now, weight, turn)
        self._bytes += weight
        while self._turns:
            since, weight, _ = next(iter(self._turns.values()))
            if now - since < self._seconds and self._bytes <= self._max_bytes:
                break
            self._turns.popitem(last=False)
            self._bytes -= weight

    def get(self, turn_id: str) -> LiveTurn | None:
        """A turn that ended here lately."""
        found = self._turns.get(turn_id)
        return found[2] if found else None

    def forget(self, gone: Callable[[TurnBegun], bool]) -> None:
        """Let go of the turns that were deleted."""
        for turn_id in [turn_id for turn_id, (_, _, turn) in self._turns.items() if gone(turn.begun)]:
            self._bytes -= self._turns.pop(turn_id)[1]
