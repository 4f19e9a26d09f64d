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
        self._issued: OrderedDict[str, tuple[str | None, tuple[str, ...]]] = OrderedDict()
        self._states: OrderedDict[tuple[str, str], KeptState | None] = OrderedDict()

    def remember(self, conversation_id: str, caller: str | None, calls: Iterable[ToolCall], state: KeptState | None) -> None:
        """Note how the newest turn of a conversation ended; `calls` may be empty."""
        ids = tuple(call.id for call in calls)
        if not ids:
            self._issued.pop(conversation_id, None)
            return
        self._issued[conversation_id] = (caller, ids)
        self._issued.move_to_end(conversation_id)
        for call_id in ids:
            self._states[conversation_id, call_id] = state
            self._states.move_to_end((conversation_id, call_id))
        while len(self._issued) > _MAX_CONVERSATIONS:
            self._issued.popitem(last=False)
        while len(self._states) > _MAX_CALLS:
            self._states.popitem(last=False)

    def forget(self, conversation_id: str) -> None:
        """Drop a deleted conversation."""
        self._issued.pop(conversation_id, None)
        for place in [place for place in self._states if place[0] == conversation_id]:
            del self._states[place]

    def issued(self, conversation_id: str, caller: str | None) -> tuple[str, ...]:
        """Ids of the calls of the newest turn known here, in order; nothing where another caller's turn was the newest."""
        owner, ids = self._issued.get(conversation_id, (caller, ()))
        return ids if owner == caller else ()

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
