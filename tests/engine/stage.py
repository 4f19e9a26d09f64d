"""An engine with scripted upstream calls and a log in memory, each of which can be halted anywhere."""

import asyncio
from dataclasses import replace
from typing import Any

from gateway.core.events import Event, Finished, TextDelta, UsageReported
from gateway.core.messages import Prompt, TextPart, UserMessage
from gateway.core.turn import Reply, TurnBegun, TurnRecord
from gateway.engine.attempts import Attempts, Source, Take
from gateway.engine.live import LiveTurn
from gateway.engine.recent import RecentCalls
from gateway.engine.records import now_ms
from gateway.engine.routing import Choice, Target
from gateway.engine.runner import Engine, Limits
from gateway.engine.trail import Trail
from gateway.providers.base import Provider
from gateway.store.base import Receipt
from tests.engine.turns import begun, body_of, soon

LIMITS = Limits(turn_timeout_s=60, abandon_s=60, max_reply_bytes=100_000, max_active_turns=5000)
GOOD: list[list[Event]] = [[TextDelta("مرح")], [TextDelta("با"), UsageReported(3, 2)], [Finished("stop")]]


def unused(*_: Any) -> Any:
    raise AssertionError("scripted calls have no wire format")


TARGET = Target("openai", Provider(unused, unused, unused, unused), "http://unused", ("key",), ("m",))
PROMPT = Prompt((UserMessage((TextPart("سؤال"),)),))


class Halt:
    """A place where a script waits until it is let on; `reached` once somebody waits there."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.on = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.on.wait()


Step = list[Event] | Halt | Exception


class Script(Attempts):
    """Upstream calls that all go by the same script; `open` counts those under way."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.open = 0
        self.made = 0

    async def run(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        self.open += 1
        self.made += 1
        try:
            for step in self.steps:
                if isinstance(step, Halt):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                elif take(step):
                    return
        finally:
            self.open -= 1


class Log:
    """A turn log: what it was told, and halts and failures on demand."""

    def __init__(self) -> None:
        self.begun: list[TurnBegun] = []
        self.progressed: list[Reply] = []
        self.records: list[TurnRecord] = []
        self.begin_halt: Halt | None = None
        self.put_halt: Halt | None = None
        self.begin_error: Exception | None = None
        self.put_error: Exception | None = None
        self.receipt: Receipt | None = None
        self.told = asyncio.Event()
        self.hurried = False

    async def begin(self, begun: TurnBegun) -> None:
        if self.begin_halt is not None:
            await self.begin_halt.wait()
        if self.begin_error is not None:
            raise self.begin_error
        self.begun.append(begun)

    def progress(self, begun: TurnBegun, reply: Reply) -> None:
        self.progressed.append(reply)
        self.told.set()

    async def put(self, record: TurnRecord) -> Receipt:
        if self.put_halt is not None:
            await self.put_halt.wait()
        if self.put_error is not None:
            raise self.put_error
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "a stop was over before the turn was stored"
        self.records.append(record)
        return self.receipt or Receipt(record.begun.conversation_id, len(self.records))

    def hurry(self) -> None:
        self.hurried = True


class Stage:
    """An engine, its script and its log."""

    def __init__(self, *steps: Step, price: Any = None, **limits: Any) -> None:
        self.script = Script(*steps)
        self.log = Log()
        self.recent = RecentCalls()
        self.engine = Engine(
            self.script, self.log, self.recent, replace(LIMITS, **limits), price or (lambda provider, model, usage: 0.25)
        )

    def start(
        self, conversation_id: str = "conv-1", *, source: Source | None = None, attended: bool = False, **fields: Any
    ) -> LiveTurn:
        usual: dict[str, Any] = {"caller": "user-1", "started_ms": now_ms(), "streamed": True}
        accepted = replace(begun(conversation_id, "سؤال"), **usual | fields)
        return self.engine.start(accepted, Choice(TARGET, "m", pinned=False), PROMPT, source=source, attended=attended)

    async def over(self) -> None:
        """Wait until nothing runs any more; nothing may be left behind then."""
        await soon(self.engine.drain(60))
        assert (self.engine.active, self.script.open) == (0, 0)
        assert not self.engine._by_conversation
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @property
    def record(self) -> TurnRecord:
        """The one turn that was logged."""
        (record,) = self.log.records
        return record


async def check_stopped(stage: Stage, turn: LiveTurn, content: str) -> None:
    """The stage's one turn ended as stopped, with `content`, for its readers and in the log."""
    body = body_of(await soon(turn.ended()))
    assert (body["status"], body["content"], body["finish_reason"]) == ("stopped", content, None)
    await stage.over()
    ended = stage.record.ended
    assert (ended.status, ended.reply.content, ended.error) == ("stopped", content, None)
