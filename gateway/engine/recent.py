"""What this process remembers of calls it passed on lately, so that most follow-ups need no look into the log."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from gateway.core.messages import KeptState, ToolCall

_MAX_CALLS: Final = 20_000
_MAX_CONVERSATIONS: Final = 10_000


class RecentCalls:
    """Open calls by conversation and kept provider states by call, both bounded, oldest out first."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, tuple[ToolCall, ...]] = OrderedDict()
        self._states: OrderedDict[tuple[str, str], KeptState | None] = OrderedDict()

    def remember(self, conversation_id: str, calls: tuple[ToolCall, ...], state: KeptState | None) -> None:
        """Note how the newest turn of a conversation ended; `calls` may be empty."""
        self._issued[conversation_id] = calls
        self._issued.move_to_end(conversation_id)
        for call in calls:
            self._states[conversation_id, call.id] = state
        while len(self._issued) > _MAX_CONVERSATIONS:
            self._issued.popitem(last=False)
        while len(self._states) > _MAX_CALLS:
            self._states.popitem(last=False)

    def forget(self, conversation_id: str) -> None:
        """Drop a deleted conversation."""
        for call in self._issued.pop(conversation_id, ()):
            self._states.pop((conversation_id, call.id), None)

    def issued(self, conversation_id: str) -> tuple[str, ...]:
        """Ids of the calls of the newest turn known here, in order."""
        return tuple(call.id for call in self._issued.get(conversation_id, ()))

    def states(self, conversation_id: str, call_ids: Iterable[str]) -> tuple[dict[str, KeptState], list[str]]:
        """Known states by call id, and the ids of which nothing is known here."""
        known: dict[str, KeptState] = {}
        unknown: list[str] = []
        for call_id in call_ids:
            if (conversation_id, call_id) not in self._states:
                unknown.append(call_id)
            elif (state := self._states[conversation_id, call_id]) is not None:
                known[call_id] = state
        return known, unknown
