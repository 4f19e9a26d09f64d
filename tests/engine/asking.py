"""Requests as the edge parses them, and a log that answers from memory."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from gateway.core.messages import ImagePart, KeptState, Message, Part, TextPart
from gateway.core.request import ChatRequest, Entry, RawCall
from gateway.engine.prompt import PromptBuilder
from gateway.engine.recent import RecentCalls
from gateway.store.base import Store, StoreUnavailable, Viewer

CONVERSATION = "conv-1"
VIEWER = Viewer("user-1")
LIMIT = 100


class Log:
    """The questions a prompt asks of the log; `away` makes them all fail."""

    def __init__(self, history: Sequence[Message] = (), issued: Sequence[str] = ()) -> None:
        self.messages = tuple(history)
        self.calls = tuple(issued)
        self.kept: dict[str, KeptState] = {}
        self.away = False
        self.asked: list[tuple[Any, ...]] = []

    async def history(self, conversation_id: str, viewer: Viewer, limit: int) -> tuple[Message, ...]:
        self._note("history", conversation_id, viewer, limit)
        return self.messages

    async def states(self, conversation_id: str, call_ids: Sequence[str]) -> Mapping[str, KeptState]:
        self._note("states", conversation_id, tuple(call_ids))
        return {call_id: state for call_id, state in self.kept.items() if call_id in call_ids}

    async def issued(self, conversation_id: str, caller: str | None) -> tuple[str, ...]:
        self._note("issued", conversation_id, caller)
        return self.calls

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.away:
            raise StoreUnavailable


def builder(log: Log, recent: RecentCalls | None = None) -> PromptBuilder:
    """A prompt builder over this log."""
    return PromptBuilder(cast("Store", log), recent or RecentCalls(), LIMIT, 8192)


def request(
    *entries: Entry, message: str | None = None, conversation_id: str | None = CONVERSATION, **fields: Any
) -> ChatRequest:
    """A parsed request; without entries its history is left to the log."""
    values: dict[str, Any] = {
        "body_hash": "hash",
        "conversation_id": conversation_id,
        "message": message,
        "entries": entries or None,
        "tools": (),
        "tool_choice": None,
        "system_prompt": None,
        "provider": None,
        "model": None,
        "temperature": None,
        "max_tokens": None,
    }
    return ChatRequest(**values | fields)


def user(text: str, image: str | None = None) -> Entry:
    """What the user said."""
    parts: tuple[Part, ...] = (TextPart(text),)
    return Entry("user", (*parts, ImagePart(image)) if image else parts)


def system(text: str) -> Entry:
    """A system prompt inside the history."""
    return Entry("system", (TextPart(text),))


def assistant(text: str = "", *call_ids: str | None) -> Entry:
    """A reply, with a call of `search` for each id."""
    calls = tuple(RawCall(call_id, "search", {"q": "كتب"}) for call_id in call_ids)
    return Entry("assistant", (TextPart(text),) if text else (), calls)


def tool(call_id: str | None, content: str = "نتيجة") -> Entry:
    """The result of a call."""
    return Entry("tool", (TextPart(content),), call_id=call_id)
