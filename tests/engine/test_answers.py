"""Equal questions at the same time: one is asked, the others follow it, and nobody fails because another one did."""

import asyncio
from typing import Any

import pytest

from gateway.core.errors import GatewayError
from gateway.core.events import Event, Failed, Finished, ReasoningDelta, Rerouted, SourceFound, TextDelta, UsageReported
from gateway.core.messages import AssistantMessage, ImagePart, Prompt, TextPart, ToolSpec, UserMessage
from gateway.core.tape import Tape
from gateway.engine.answers import Answers, Question, key_of, normal
from gateway.engine.attempts import Take
from gateway.engine.live import LiveTurn
from gateway.engine.routing import Choice
from gateway.engine.trail import Trail
from gateway.store.base import StoreUnavailable
from tests.engine.stage import GOOD, PROMPT, TARGET, Halt, Script, Stage, Step
from tests.engine.turns import body_of, soon

CHOICE = Choice(TARGET, "m", pinned=False)
BROKEN = Failed(GatewayError("provider_error", "انقطع الجواب"))
FIRST: list[list[Event]] = [[ReasoningDelta("لعلّه"), TextDelta("مرح")]]


class Scripts(Script):
    """Each call has a script of its own; what is asked to go on is remembered."""

    def __init__(self, *calls: tuple[Step, ...]) -> None:
        super().__init__()
        self.calls = list(calls)
        self.went_on_from: list[str | None] = []

    async def run(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        self.went_on_from.append(trail.fold.reply().content if trail.parts else None)
        self.steps = self.calls[self.made]
        await super().run(choice, prompt, trail, take, stream=stream)


class Remembered:
    """A log of answers; `halt` holds look-ups, `error` ends them."""

    def __init__(self) -> None:
        self.tape: Tape | None = None
        self.halt: Halt | None = None
        self.error: Exception | None = None
        self.asked = 0

    async def answer(self, key: str, since_ms: int) -> Tape | None:
        self.asked += 1
        if self.halt is not None:
            await self.halt.wait()
        if self.error is not None:
            raise self.error
        return self.tape


class Shared(Stage):
    """A stage whose turns ask the same question."""

    def __init__(self, *calls: tuple[Step, ...]) -> None:
        super().__init__()
        self.script = self.scripts = Scripts(*calls)
        self.store = Remembered()
        self.counted: list[str] = []
        self.answers = Answers(self.scripts, self.store, 60, self.counted.append)

    def ask(self, **fields: Any) -> LiveTurn:
        source = self.answers.question(CHOICE, PROMPT, "usual")
        assert isinstance(source, Question)
        turn = self.start(source=source, **fields)
        turn.when_ended(lambda _: source.close())
        return turn

    async def over(self) -> None:
        await super().over()
        await asyncio.sleep(0)  # whoever waits for the end hears of it next
        assert not self.answers._flights


async def said(turn: LiveTurn) -> dict[str, Any]:
    return body_of(await soon(turn.ended()))


async def reached(turn: LiveTurn, text: str) -> None:
    """Wait until so much of the reply has come."""
    while turn.fold.reply().content != text:
        await soon(turn.changed())


async def test_one_is_asked_for_all_and_all_hear_it_at_once() -> None:
    halt = Halt()
    source = SourceFound("web", "لسان العرب", "https://example.org")
    stage = Shared((*FIRST, halt, [source, TextDelta("با"), UsageReported(3, 2)], [Finished("length")]))
    turns = [stage.ask(conversation_id="one"), stage.ask(conversation_id="two")]
    await soon(halt.reached.wait())
    turns.append(stage.ask(conversation_id="three", streamed=False))
    for turn in turns:
        await reached(turn, "مرح")
    halt.on.set()
    bodies = [await said(turn) for turn in turns]
    await stage.over()
    assert {body["content"] for body in bodies} == {"مرحبا"}
    assert {body["finish_reason"] for body in bodies} == {"length"}
    assert all(body["thoughts"][0]["content"] == "لعلّه" and body["sources"][0]["id"] == "1" for body in bodies)
    assert [body.get("cached") for body in bodies] == [None, True, True]
    assert [body["usage"]["output_tokens"] for body in bodies] == [2, 0, 0]
    assert [body["usage"]["cost_usd"] for body in bodies] == [0.25, 0, 0]
    assert (stage.script.made, sorted(stage.counted)) == (1, ["miss", "shared", "shared"])
    assert all(record.ended.question_hash is None for record in stage.log.records), "one that was cut answers nobody later"


async def test_they_follow_until_the_first_is_in_the_log() -> None:
    stage = Shared(tuple(GOOD))
    stage.log.put_halt = halt = Halt()
    first = stage.ask(conversation_id="one")
    await soon(halt.reached.wait())
    second = stage.ask(conversation_id="two")
    halt.on.set()
    assert (await said(second))["cached"]
    assert "cached" not in await said(first)
    await stage.over()
    assert [bool(record.ended.question_hash) for record in stage.log.records].count(True) == 1
    assert (stage.script.made, stage.store.asked) == (1, 1)


async def test_a_stream_does_not_wait_for_a_whole_reply() -> None:
    halt = Halt()
    stage = Shared((halt, *GOOD), tuple(GOOD))
    whole = stage.ask(conversation_id="one", streamed=False)
    await soon(halt.reached.wait())
    stream = stage.ask(conversation_id="two")
    assert "cached" not in await said(stream)
    halt.on.set()
    await said(whole)
    await stage.over()
    assert stage.script.made == 2


@pytest.mark.parametrize("ending", ["stopped", "failed"])
async def test_the_first_ends_before_it_has_said_anything(ending: str) -> None:
    halt, second = Halt(), Halt()
    stage = Shared((halt, [BROKEN]), (second, *GOOD))
    first = stage.ask(conversation_id="one")
    others = [stage.ask(conversation_id=name) for name in ("two", "three", "four")]
    await soon(halt.reached.wait())
    if ending == "stopped":
        stage.engine.stop(first)
    halt.on.set()
    outcome = await soon(first.ended())
    assert outcome.ended is not None
    assert outcome.ended.status == ending
    await soon(second.reached.wait())
    second.on.set()
    bodies = [await said(turn) for turn in others]
    await stage.over()
    assert {body["content"] for body in bodies} == {"مرحبا"}
    assert sorted(body["usage"]["cost_usd"] for body in bodies) == [0, 0, 0.25]
    assert stage.scripts.went_on_from == [None, None]


@pytest.mark.parametrize("ending", ["stopped", "failed"])
async def test_the_first_ends_in_the_middle(ending: str) -> None:
    halt, second = Halt(), Halt()
    stage = Shared((*FIRST, halt, [BROKEN]), (second, [TextDelta("با"), UsageReported(9, 1)], [Finished("stop")]))
    first = stage.ask(conversation_id="one")
    others = [stage.ask(conversation_id="two", streamed=False), stage.ask(conversation_id="three")]
    for turn in (first, *others):
        await reached(turn, "مرح")
    if ending == "stopped":
        stage.engine.stop(first)
    halt.on.set()
    await soon(second.reached.wait())
    late = stage.ask(conversation_id="late")
    await reached(late, "مرح")
    second.on.set()
    outcome = await soon(first.ended())
    assert outcome.ended is not None
    assert (outcome.ended.status, outcome.ended.reply.content) == (ending, "مرح")
    bodies = [await said(turn) for turn in (*others, late)]
    await stage.over()
    assert {body["content"] for body in bodies} == {"مرحبا"}
    assert [body.get("cached") for body in bodies].count(True) == 2
    assert stage.scripts.went_on_from == [None, "مرح"]
    assert all(any(isinstance(item, Rerouted) for item in turn.fold.tape.segments) for turn in others)
    assert all(record.ended.question_hash is None for record in stage.log.records), "a reply with a seam answers nobody later"


async def test_after_two_failures_each_asks_for_itself() -> None:
    halts = [Halt(), Halt()]
    stage = Shared((halts[0], [BROKEN]), (halts[1], [BROKEN]), tuple(GOOD), tuple(GOOD))
    turns = [stage.ask(conversation_id=name) for name in ("one", "two", "three", "four")]
    for halt in halts:
        await soon(halt.reached.wait())
        halt.on.set()
    outcomes = [await soon(turn.ended()) for turn in turns]
    await stage.over()
    assert sorted(outcome.ended.status for outcome in outcomes if outcome.ended) == ["completed", "completed", "failed", "failed"]
    assert stage.script.made == 4


async def test_a_follower_that_is_stopped_leaves_the_others_alone() -> None:
    halt = Halt()
    stage = Shared((*FIRST, halt, [TextDelta("با")], [Finished("stop")]))
    turns = [stage.ask(conversation_id=name) for name in ("one", "two", "three")]
    for turn in turns:
        await reached(turn, "مرح")
    stage.engine.stop(turns[1])
    stopped = await said(turns[1])
    assert (stopped["status"], stopped["content"], stopped["usage"]["cost_usd"]) == ("stopped", "مرح", 0)
    halt.on.set()
    assert [(await said(turn))["content"] for turn in (turns[0], turns[2])] == ["مرحبا", "مرحبا"]
    await stage.over()


async def test_the_log_is_looked_into_once_for_all() -> None:
    stage = Shared()
    stage.store.tape = Tape()
    stage.store.tape.write("thought", "لعلّه", 0)
    stage.store.tape.mark(Rerouted("retrying", "", ""))
    stage.store.tape.write("text", "مرحبا", 0)
    stage.store.halt = halt = Halt()
    turns = [stage.ask(conversation_id=name) for name in ("one", "two")]
    await soon(halt.reached.wait())
    turns.append(stage.ask(conversation_id="three"))
    halt.on.set()
    bodies = [await said(turn) for turn in turns]
    await stage.over()
    assert {(body["content"], body["cached"], body["usage"]["cost_usd"]) for body in bodies} == {("مرحبا", True, 0.0)}
    assert (stage.store.asked, stage.script.made, sorted(stage.counted)) == (1, 0, ["hit", "shared", "shared"])
    assert not any(isinstance(item, Rerouted) for turn in turns for item in turn.fold.tape.segments)


async def test_while_the_log_is_away_the_provider_is_asked() -> None:
    stage = Shared(tuple(GOOD))
    stage.store.error = StoreUnavailable("away")
    assert (await said(stage.ask()))["content"] == "مرحبا"
    await stage.over()


def test_one_spelling_of_the_same_question() -> None:
    assert normal(" \nما\u00a0معنى  «كِتاب»؟\t") == "ما معنى «كِتاب»؟"
    program = "if x:\n    a()\n    b()"
    assert normal(f"{program}\n") == program
    assert normal(program) != normal("if x:\n    a()\nb()"), "where a line begins is part of what it says"
    assert normal("مُعَلِّم") == normal("مُعَل\u0651\u0650م"), "the order of marks on one letter"
    assert normal("آن") == normal("ا\u0653ن")
    assert len({normal(word) for word in ("عِلْم", "عَلَم", "علم", "علّم")}) == 4


def test_what_depends_on_more_than_itself_has_no_key() -> None:
    asked = UserMessage((TextPart("ما معنى «كتاب»؟"),))
    assert key_of(CHOICE, Prompt((asked,))) is not None
    for prompt in (
        Prompt((asked, AssistantMessage("جواب"), asked)),
        Prompt((asked,), tools=(ToolSpec("search", "", {}),)),
        Prompt((UserMessage((TextPart("ما هذا؟"), ImagePart("https://example.org/a.png"))),)),
    ):
        assert key_of(CHOICE, prompt) is None
