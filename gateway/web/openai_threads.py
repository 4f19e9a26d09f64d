"""Which conversation a history without a name belongs to, and which turn a retry without a key."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from gateway.core.request import Entry
from gateway.engine.live import LiveTurn
from gateway.store.base import EarlierReply

_LOOKED_AT: Final = 4
_REMEMBERED: Final = 10_000
RETRIED_WITHIN_S: Final = 300.0

_Place = tuple[str | None, str]


def earlier_replies(entries: Sequence[Entry]) -> tuple[EarlierReply, ...]:
    """The newest replies in a history, newest first."""
    found: list[EarlierReply] = []
    question: str | None = None
    for entry in entries:
        if entry.role == "user":
            question = entry.text
        elif entry.role == "assistant":
            found.append(EarlierReply(entry.text, question, tuple(call.id for call in entry.calls if call.id)))
    return tuple(found[: -_LOOKED_AT - 1 : -1])


class LostReplies:
    """Turns whose clients hung up before they had the reply. Of this process; forgotten after `RETRIED_WITHIN_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lost: OrderedDict[str, tuple[_Place, float]] = OrderedDict()

    def add(self, turn: LiveTurn) -> None:
        """Nobody was there any more to take the reply."""
        self._lost.pop(turn.begun.turn_id, None)
        self._lost[turn.begun.turn_id] = ((turn.begun.caller, turn.begun.request_hash), self._clock())
        if len(self._lost) > _REMEMBERED:
            self._lost.popitem(last=False)

    def take(self, caller: str | None, request_hash: str) -> str | None:
        """The turn that was lost last by the same caller with the same request, for one retry alone."""
        now = self._clock()
        for turn_id, (place, since) in reversed(self._lost.items()):
            if now - since > RETRIED_WITHIN_S:
                return None
            if place == (caller, request_hash):
                del self._lost[turn_id]
                return turn_id
        return None
