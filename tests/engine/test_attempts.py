"""Which calls a turn makes, and what its reader sees of it."""

import asyncio

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamKind
from gateway.engine.policy import MAX_REFUSALS, Policy
from tests.engine.pretending import AT_ONCE, PROMPT, REPLY, Act, Pretended, Turns, answers, fails, trail

RETRIED: list[tuple[UpstreamKind, int | None]] = [
    ("connect", None),
    ("timeout", 408),
    ("server", 409),
    ("overloaded", 498),
    ("server", 500),
    ("server", 502),
    ("overloaded", 503),
    ("timeout", 504),
    ("overloaded", 529),
    ("broken", None),
    ("broken", 200),
    ("rate_limited", 429),
]
REFUSED: list[tuple[UpstreamKind, int | None]] = [
    ("rejected", 400),
    ("rejected", 404),
    ("rejected", 413),
    ("rejected", 422),
    ("key_refused", 401),
    ("key_refused", 403),
    ("quota", 429),
    ("broken", 302),
    ("broken", 418),
]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_first_call_is_all(stream: bool) -> None:
    turns = Turns(Pretended(openai=answers()), fallback=["openai"])
    result = await turns.ask(stream=stream)
    assert (result.reply.content, result.tried, result.marks) == (REPLY, [], [])
    assert (result.trail.provider, result.trail.model) == ("openai", "model")
    assert [call.stream for call in turns.upstream.calls] == [stream]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("kind", "status"), RETRIED)
async def test_what_is_retried(kind: UpstreamKind, status: int | None, stream: bool) -> None:
    early = (ev.Started("m"), ev.UsageReported(7, 1), ev.StateKept({"s": 1}))
    turns = Turns(Pretended(openai=[fails(kind, status), fails(kind, status, after=early), answers()]))
    result = await turns.ask(stream=stream)
    assert result.reply.content == REPLY
    assert result.marks == [("retrying", "openai")] * 2
    assert [status for _, _, status in result.tried] == [status] * 2
    assert result.reply.usage == ev.UsageReported(), "what a failed call said is forgotten"
    assert result.reply.state is None
    assert len(turns.upstream.calls) == 3


@pytest.mark.parametrize("retries", [0, 1, 2])
@pytest.mark.parametrize(("kind", "status"), RETRIED)
async def test_retries_are_bounded(kind: UpstreamKind, status: int | None, retries: int) -> None:
    turns = Turns(Pretended(openai=fails(kind, status)), policy=Policy(max_retries=retries, backoff=AT_ONCE))
    result = await turns.ask()
    assert result.error is not None
    assert len(turns.upstream.calls) == len(result.tried) == retries + 1
    assert len(result.marks) == retries
    assert (result.error.retry_after is not None) == (result.error.code == "provider_overloaded")


@pytest.mark.parametrize(("kind", "status"), REFUSED)
async def test_what_is_never_retried(kind: UpstreamKind, status: int | None) -> None:
    turns = Turns(Pretended(openai=fails(kind, status)))
    result = await turns.ask()
    assert result.error is not None
    assert (len(turns.upstream.calls), result.marks) == (1, [])


async def test_a_provider_that_says_so_is_not_asked_again() -> None:
    turns = Turns(Pretended(openai=fails("server", 500, retryable=False)))
    await turns.ask()
    assert len(turns.upstream.calls) == 1


@pytest.mark.parametrize(
    "said",
    [
        ev.TextDelta("بدأ"),
        ev.ReasoningDelta("أفكّر"),
        ev.ToolCalled("call_1", "get_entry", "{}"),
        ev.SourceFound("web", "لسان العرب", "https://example.com"),
    ],
)
async def test_nothing_is_retried_behind_the_first_output(said: ev.Event) -> None:
    turns = Turns(Pretended(openai=fails(after=(said,)), groq=answers()), fallback=["groq"])
    result = await turns.ask()
    assert result.error is not None
    assert len(turns.upstream.calls) == 1
    assert result.marks == []
    assert said in result.events, "what has come stays"


async def test_a_broken_whole_reply_is_nobodys_output() -> None:
    broken = fails("broken", None, after=(ev.TextDelta("نصف"),))
    failure = ev.Failed(broken.error) if broken.error else None
    assert failure is not None
    act = Act([[ev.TextDelta("نصف"), failure]])
    turns = Turns(Pretended(openai=[act, answers()]))
    result = await turns.ask(stream=False)
    assert (result.reply.content, len(turns.upstream.calls)) == (REPLY, 2)
    turns = Turns(Pretended(openai=act))
    result = await turns.ask(stream=False)
    assert (result.reply.content, len(turns.upstream.calls)) == ("نصف", 3), "but it is kept when nothing better comes"


async def test_a_refused_parameter_is_left_out_at_once_and_from_then_on() -> None:
    turns = Turns(Pretended(openai=[fails("rejected", 400, parameter="temperature"), answers()]))
    first = await turns.ask()
    assert (first.reply.content, first.marks) == (REPLY, [])
    assert [sorted(call.dropped) for call in turns.upstream.calls] == [[], ["temperature"]]
    await turns.ask()
    assert turns.upstream.calls[-1].dropped == {"temperature"}
    await turns.ask(model="other")
    assert turns.upstream.calls[-1].dropped == frozenset(), "each model for itself"


async def test_several_parameters_may_be_refused_but_not_for_ever() -> None:
    acts = [fails("rejected", 400, parameter=f"p{number}") for number in range(MAX_REFUSALS + 3)]
    turns = Turns(Pretended(openai=acts))
    result = await turns.ask()
    assert result.error is not None
    assert result.error.code == "provider_rejected"
    assert len(turns.upstream.calls) == MAX_REFUSALS + 1
    turns = Turns(Pretended(openai=fails("rejected", 400, parameter="same")))
    await turns.ask()
    assert len(turns.upstream.calls) == 2, "refused although it was left out"


async def test_a_refused_parameter_is_no_retry() -> None:
    policy = Policy(max_retries=1, backoff=AT_ONCE)
    acts = [fails("rejected", 400, parameter="temperature"), fails(), answers()]
    turns = Turns(Pretended(openai=acts), policy=policy)
    result = await turns.ask()
    assert (result.reply.content, len(result.tried)) == (REPLY, 2)


async def test_another_key_after_a_refused_one() -> None:
    turns = Turns(Pretended(openai=[fails("key_refused", 401), answers()]), keys={"openai": 2})
    result = await turns.ask()
    assert result.reply.content == REPLY
    first, second = (call.key for call in turns.upstream.calls)
    assert first != second
    for _ in range(4):
        await turns.ask()
    assert {call.key for call in turns.upstream.calls[1:]} == {second}, "the refused one is set aside"


@pytest.mark.parametrize("kind", ["rate_limited", "key_refused", "quota"])
async def test_every_key_is_asked_at_most_once(kind: UpstreamKind) -> None:
    act = fails(kind, 429, retry_after=100.0)
    turns = Turns(Pretended(openai=act), keys={"openai": 3}, policy=Policy(max_retries=0, backoff=AT_ONCE))
    result = await turns.ask()
    assert result.error is not None
    assert sorted(call.key for call in turns.upstream.calls) == ["openai-1", "openai-2", "openai-3"]


async def test_two_of_three_keys_limited_is_no_failure() -> None:
    acts = [fails("rate_limited", 429, retry_after=30.0), fails("rate_limited", 429, retry_after=30.0), answers()]
    turns = Turns(Pretended(openai=acts), keys={"openai": 3}, policy=Policy(max_retries=0, backoff=AT_ONCE))
    results = [await turns.ask() for _ in range(20)]
    assert [result.reply.content for result in results] == [REPLY] * 20
    assert len(turns.upstream.calls) == 22
    assert len({call.key for call in turns.upstream.calls[2:]}) == 1


async def test_a_stopped_turn_leaves_nothing_behind() -> None:
    turns = Turns(Pretended(openai=Act([[ev.TextDelta("بدأ")]], silent=True)))
    choice = turns.router.choose(None, None)
    own = trail(choice)
    task = asyncio.ensure_future(turns.run(choice, own))
    await turns.upstream.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert turns.upstream.open == 0
    assert own.attempts == []
    [key] = turns.router.health()["openai"].keys
    assert (key.in_flight, key.state) == (0, "up")


@pytest.mark.parametrize("place", range(1, 6))
async def test_whoever_takes_may_have_enough_at_any_event(place: int) -> None:
    upstream = Pretended(openai=fails(), groq=answers("واحد|اثنان"))
    turns = Turns(upstream, fallback=["groq"], policy=Policy(max_retries=1, backoff=AT_ONCE))
    choice = turns.router.choose(None, None)
    own = trail(choice)
    taken: list[list[ev.Event]] = []

    def take(batch: list[ev.Event]) -> bool:
        taken.append(batch)
        own.fold.extend(batch)
        return len(taken) == place

    await turns.attempts.run(choice, PROMPT, own, take, stream=True)
    assert len(taken) == place
    assert turns.upstream.open == 0
    assert [key.in_flight for found in turns.router.health().values() for key in found.keys] == [0, 0]


async def test_a_turn_cut_by_its_time_counts_against_the_provider() -> None:
    turns = Turns(Pretended(openai=Act(silent=True)), policy=Policy(turn_timeout_s=0.05, backoff=AT_ONCE))
    choice = turns.router.choose(None, None)
    own = trail(choice)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await turns.run(choice, own, PROMPT, stream=False)
    assert [(attempt.code, attempt.upstream_status) for attempt in own.attempts] == [("provider_timeout", None)]


async def test_a_spent_key_is_heard_of_in_the_head() -> None:
    act = answers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="30s")
    turns = Turns(Pretended(openai=[act, answers()]), keys={"openai": 2})
    for _ in range(5):
        await turns.ask()
    first, *later = [call.key for call in turns.upstream.calls]
    assert first not in later
