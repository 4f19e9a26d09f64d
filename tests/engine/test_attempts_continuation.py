"""A reply that breaks off in the middle: failed as it stands, or continued by another provider."""

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamKind
from gateway.core.messages import AssistantMessage, UserMessage
from gateway.engine.continuation import INSTRUCTION
from gateway.engine.policy import MAX_CONTINUATIONS, Policy
from tests.engine.pretending import AT_ONCE, PROMPT, Act, Pretended, Turns, answers, fails

GO_ON = Policy(max_retries=1, backoff=AT_ONCE, continue_on_break=True)
HALF, REST = "الكتابُ ما ", "يُكتَبُ فيه."
USED, USED_TOO = ev.UsageReported(10, 3, 2, None, 0), ev.UsageReported(14, 5, 4, 1, 0)
SAID = (ev.TextDelta(HALF),)


def broken(text: str = HALF, kind: UpstreamKind = "broken", *more: ev.Event) -> Act:
    return fails(kind, None, after=(USED, ev.StateKept({"s": 1}), ev.TextDelta(text), *more))


async def test_without_the_setting_the_turn_fails_with_what_had_come() -> None:
    upstream = Pretended(openai=broken(), groq=answers())
    result = await Turns(upstream, fallback=["groq"]).ask()
    assert result.error is not None
    assert (result.reply.content, result.reply.usage, result.marks) == (HALF, USED, [])
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("kind", ["broken", "timeout", "server", "overloaded", "rate_limited"])
async def test_the_next_provider_goes_on(kind: UpstreamKind) -> None:
    upstream = Pretended(openai=broken(HALF, kind), groq=answers(REST, usage=USED_TOO))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    assert result.error is None
    assert result.reply.content == HALF + REST
    assert result.marks == [("switched", "groq")]
    assert (result.trail.provider, len(result.tried)) == ("groq", 1)
    assert result.reply.usage == ev.UsageReported(24, 8, 6, None, 0), "both are paid for; what one did not tell is unknown"
    assert result.reply.state is None, "the state of a part would not fit the whole"
    answer, instruction = upstream.calls[1].prompt.messages[-2:]
    assert answer == AssistantMessage(HALF.rstrip())
    assert isinstance(instruction, UserMessage)
    assert instruction.text == INSTRUCTION


async def test_a_model_that_can_goes_on_from_its_beginning() -> None:
    upstream = Pretended(openai=broken(), anthropic=answers(REST))
    turns = Turns(upstream, fallback=["anthropic"], policy=GO_ON, models={"anthropic": "claude-sonnet-4-5"})
    result = await turns.ask()
    assert result.reply.content == HALF + REST
    assert upstream.calls[1].prompt.messages == (*PROMPT.messages, AssistantMessage(HALF.rstrip()))


async def test_what_it_says_again_is_not_shown_again() -> None:
    upstream = Pretended(openai=broken(), groq=answers("الكتابُ |ما يُ|كتَبُ فيه."))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    assert result.reply.content == HALF + REST


async def test_alone_the_same_provider_goes_on_once() -> None:
    upstream = Pretended(openai=[broken(), answers(REST)])
    result = await Turns(upstream, policy=GO_ON).ask()
    assert (result.reply.content, result.marks) == (HALF + REST, [("retrying", "openai")])


async def test_a_break_is_mended_so_often_and_no_more() -> None:
    upstream = Pretended(openai=[broken("واحد "), broken("اثنان "), broken("ثلاثة "), answers("أربعة")])
    result = await Turns(upstream, policy=GO_ON).ask()
    assert result.error is not None
    assert len(upstream.calls) == MAX_CONTINUATIONS + 1
    assert result.reply.content == "واحد اثنان ثلاثة "
    assert result.reply.usage == ev.UsageReported(30, 9, 6, None, 0)


async def test_an_early_failure_of_the_next_is_retried_as_ever() -> None:
    upstream = Pretended(openai=broken(), groq=[fails(), fails("overloaded", 529)], anthropic=answers(REST))
    result = await Turns(upstream, fallback=["groq", "anthropic"], policy=GO_ON).ask()
    assert result.reply.content == HALF + REST
    assert result.marks == [("switched", "groq"), ("retrying", "groq"), ("switched", "anthropic")]
    assert len(result.tried) == 3


async def test_when_nobody_goes_on_it_fails_with_what_had_come_and_was_used() -> None:
    upstream = Pretended(openai=broken(), groq=fails("overloaded", 529))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    assert result.error is not None
    assert result.error.code == "provider_overloaded"
    assert (result.reply.content, result.reply.usage) == (HALF, USED)


@pytest.mark.parametrize(
    "act",
    [
        fails("broken", None, after=(*SAID, ev.ToolCalled("call_1", "get_entry", "{}"))),
        fails("rejected", 400, after=SAID),
    ],
)
async def test_what_is_not_continued(act: Act) -> None:
    upstream = Pretended(openai=act, groq=answers())
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    assert result.error is not None
    assert len(upstream.calls) == 1


async def test_where_only_thoughts_had_come_the_question_is_asked_anew() -> None:
    upstream = Pretended(openai=fails(after=(ev.ReasoningDelta("أفكّر"),)), groq=answers(HALF + REST))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    assert (result.reply.content, [thought.content for thought in result.reply.thoughts]) == (HALF + REST, ["أفكّر"])
    assert upstream.calls[1].prompt == PROMPT


async def test_a_whole_reply_is_asked_for_again_not_continued() -> None:
    failure = broken().error
    assert failure is not None
    upstream = Pretended(openai=Act([[*SAID, ev.Failed(failure)]]), groq=answers(HALF + REST))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask(stream=False)
    assert result.reply.content == HALF + REST
    assert upstream.calls[-1].prompt == PROMPT


async def test_the_price_is_that_of_both() -> None:
    upstream = Pretended(openai=broken(), groq=answers(REST, usage=USED_TOO))
    result = await Turns(upstream, fallback=["groq"], policy=GO_ON).ask()
    asked: list[tuple[str, ev.UsageReported]] = []

    def price(provider: str, _model: str, usage: ev.UsageReported) -> float | None:
        asked.append((provider, usage))
        return 0.25 if provider == "openai" else 0.5

    assert result.trail.cost(price) == 0.75
    assert asked == [("openai", USED), ("groq", USED_TOO)]
    assert result.trail.cost(lambda provider, _model, _usage: None if provider == "groq" else 1.0) is None
