"""Turns for the tests of the log, and a log that does what the test says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.core.events import UsageReported
from gateway.core.ids import new_turn_id
from gateway.core.messages import ToolCall
from gateway.core.turn import Reply, Thought, TurnBegun, TurnEnded, TurnRecord
from gateway.store.base import Stored

STARTED_MS = 1_732_000_000_000


def reply(content: str = "الجذر ك ت ب.", **more: object) -> Reply:
    """A reply; `more` replaces its fields."""
    whole = Reply(content, (), (), (), UsageReported(12, 34), None, f"t{len(content)}", None)
    return replace(whole, **more)  # type: ignore[arg-type]


def rich_reply() -> Reply:
    """A reply that has a bit of everything."""
    return reply(
        "المعنى: جمع الحروف",
        tool_calls=(ToolCall("call_1", "get_entry", {"جذر": "كتب", "n": 7}), ToolCall("call_2", "find", {}, "{broken")),
        thoughts=(Thought(1, "لنبحث أولًا", ("get_entry", "find"), STARTED_MS + 5),),
        state={"blocks": [{"signature": "ab+/=", "kept": None}]},
        layout="r11,c,c,t18",
    )


def begun(conversation: str | None = None, question: str = "ما معنى كلمة كتاب؟", turn_id: str | None = None) -> TurnBegun:
    """A turn as it was accepted, in a conversation of its own unless one is named."""
    turn_id = turn_id or new_turn_id()
    return TurnBegun(
        turn_id=turn_id,
        conversation_id=conversation or f"conv-{turn_id}",
        caller=None,
        provider="openai",
        model="gpt-4o",
        question=question,
        question_parts=None,
        tool_results=(),
        started_ms=STARTED_MS,
        request_hash="0" * 64,
        request_id="r1",
    )


def record(of: TurnBegun | None = None, content: str = "الجذر ك ت ب.", conversation: str | None = None) -> TurnRecord:
    """A completed turn."""
    of = of or begun(conversation)
    ended = TurnEnded("completed", of.provider, of.model, reply(content, finish_reason="stop"), of.started_ms + 900)
    return TurnRecord(of, ended)


Script = Callable[[Sequence[TurnRecord]], Exception | None]


class FakeStore:
    """Keeps what is put, in order, once a turn id. `script` may name an error for a call; those that `held` names wait while
    `gate` is shut.

    Only what the writer uses of a `Store`; `taken` has the sizes of calls that succeeded, `misuses` those that broke its rule.
    """

    def __init__(self) -> None:
        self.rows: dict[str, TurnRecord] = {}
        self.calls: list[list[TurnRecord]] = []
        self.taken: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.takes_s = 0.0
        self.script: Script = lambda _records: None
        self.held: Callable[[Sequence[TurnRecord]], bool] = lambda _records: True
        self.misuses: list[list[str]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.changed = asyncio.Event()

    async def put(self, records: Sequence[TurnRecord]) -> list[Stored]:
        """See `Store.put`."""
        conversations = [record.begun.conversation_id for record in records]
        if len(set(conversations)) != len(conversations):
            self.misuses.append(conversations)
        self.calls.append(list(records))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self._change()
        try:
            await asyncio.sleep(self.takes_s)
            if self.held(records):
                await self.gate.wait()
            error = self.script(records)
            if error is not None:
                raise error
            self.taken.append(len(records))
            for item in records:
                self.rows.setdefault(item.begun.turn_id, item)
            numbers = {turn_id: number for number, turn_id in enumerate(self.rows, 1)}
            return [Stored(item.begun.conversation_id, numbers[item.begun.turn_id]) for item in records]
        finally:
            self.under_way -= 1
            self._change()

    async def ping(self) -> None:
        """See `Store.ping`."""
        error = self.script(())
        if error is not None:
            raise error

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true of this store."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def _change(self) -> None:
        self.changed.set()
