"""Turning to another provider: when, to whom, and who is said to have answered."""

import pytest

from gateway.core.errors import GatewayError, UpstreamKind
from gateway.core.messages import ImagePart, Prompt, TextPart, UserMessage
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.policy import Policy
from tests.engine.pretending import AT_ONCE, REPLY, Act, Pretended, Turns, answers, fails

ONCE = Policy(max_retries=0, backoff=AT_ONCE)


async def test_the_next_provider_answers_and_is_named() -> None:
    upstream = Pretended(openai=fails(), groq=fails("overloaded", 529), anthropic=answers())
    turns = Turns(upstream, fallback=["groq", "anthropic"], policy=Policy(max_retries=1, backoff=AT_ONCE))
    result = await turns.ask(model="other")
    assert result.reply.content == REPLY
    assert (result.trail.provider, result.trail.model) == ("anthropic", "model")
    assert result.tried == [("openai", "provider_error", 500)] * 2 + [("groq", "provider_overloaded", 529)] * 2
    assert result.marks == [("retrying", "openai"), ("switched", "groq"), ("retrying", "groq"), ("switched", "anthropic")]
    assert [call.model for call in upstream.calls] == ["other", "other", "model", "model", "model"]


@pytest.mark.parametrize(("allowed", "asked"), [(False, ["openai"]), (True, ["openai", "groq"])])
async def test_a_named_provider_is_kept_to_unless_allowed(allowed: bool, asked: list[str]) -> None:
    upstream = Pretended(openai=fails(), groq=answers())
    turns = Turns(upstream, fallback=["groq"], when_pinned=allowed, policy=ONCE)
    result = await turns.ask("openai")
    assert (result.error is None) == allowed
    assert [call.provider for call in upstream.calls] == asked


async def test_providers_without_a_key_are_left_out() -> None:
    upstream = Pretended(openai=fails(), groq=answers())
    turns = Turns(upstream, keys={"anthropic": 0}, fallback=["anthropic", "groq", "openai", "groq"], policy=ONCE)
    await turns.ask()
    assert [call.provider for call in upstream.calls] == ["openai", "groq"]


async def test_a_default_provider_without_a_key_gives_way() -> None:
    upstream = Pretended(groq=answers(), anthropic=answers())
    turns = Turns(upstream, keys={"groq": 0}, fallback=["anthropic"], policy=ONCE)
    assert turns.router.default_provider == "groq"
    result = await turns.ask()
    assert (result.trail.provider, result.tried) == ("anthropic", [])
    with pytest.raises(GatewayError) as refused:
        await turns.ask("groq")
    assert refused.value.code == "provider_not_configured"


@pytest.mark.parametrize(("status", "asked"), [(400, 1), (413, 1), (422, 1), (404, 2)])
async def test_a_refused_request_is_refused_everywhere_a_missing_model_is_not(status: int, asked: int) -> None:
    upstream = Pretended(openai=fails("rejected", status), groq=answers())
    result = await Turns(upstream, fallback=["groq"]).ask()
    assert len(upstream.calls) == asked
    assert (result.error is None) == (asked == 2)


@pytest.mark.parametrize("kind", ["key_refused", "quota", "connect", "broken", "timeout"])
async def test_whatever_else_fails_there_is_another(kind: UpstreamKind) -> None:
    upstream = Pretended(openai=fails(kind, None), groq=answers())
    result = await Turns(upstream, fallback=["groq"]).ask()
    assert result.reply.content == REPLY


async def test_that_a_fallback_refuses_is_not_the_clients_fault() -> None:
    upstream = Pretended(openai=fails("overloaded", 529), groq=fails("rejected", 400), anthropic=fails("rejected", 422))
    result = await Turns(upstream, fallback=["groq", "anthropic"], policy=ONCE).ask()
    assert [call.provider for call in upstream.calls] == ["openai", "groq", "anthropic"]
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("provider_overloaded", True)


async def test_images_and_tools_go_along_where_they_can() -> None:
    prompt = Prompt((UserMessage((TextPart("ما هذا؟"), ImagePart("https://example.com/a.png"))),))
    upstream = Pretended(openai=fails(), groq=answers(), anthropic=answers())
    result = await Turns(upstream, fallback=["groq", "anthropic"], policy=ONCE).ask(prompt=prompt)
    assert [call.provider for call in upstream.calls] == ["openai", "anthropic"]
    assert upstream.calls[-1].prompt == prompt
    assert result.trail.provider == "anthropic"
    refused = await Turns(Pretended(groq=answers(), openai=answers()), fallback=["openai"]).ask(prompt=prompt)
    assert refused.error is not None
    assert refused.error.code == "provider_rejected", "asked first, it is the request that it cannot take"


async def test_one_that_always_fails_is_left_to_its_probes() -> None:
    upstream = Pretended(openai=fails(), groq=answers())
    turns = Turns(upstream, fallback=["groq"], breaker=BreakerPolicy(minimum=6, open_s=1000.0))
    results = [await turns.ask() for _ in range(100)]
    assert [result.error for result in results] == [None] * 100
    asked = [call.provider for call in upstream.calls].count("openai")
    assert asked == 6, "three calls a turn until it opened"
    assert results[-1].tried == []
    assert results[-1].marks == [("switched", "groq")]
    assert turns.router.health()["openai"].state == "down"
    assert turns.router.health()["groq"].state == "up"


@pytest.mark.parametrize("stream", [True, False])
async def test_one_that_mostly_answers_stays(stream: bool) -> None:
    upstream = Pretended(openai=[*[answers(), answers(), fails()] * 10, answers()], groq=answers())
    turns = Turns(upstream, fallback=["groq"], policy=ONCE, breaker=BreakerPolicy(minimum=3, rate=0.5, open_s=1000.0))
    for _ in range(30):
        await turns.ask(stream=stream)
    assert [call.provider for call in upstream.calls].count("openai") == 30


@pytest.mark.parametrize("stream", [True, False])
async def test_a_probe_brings_it_back(stream: bool) -> None:
    upstream = Pretended(openai=[fails(), fails(), answers()], groq=answers())
    turns = Turns(upstream, fallback=["groq"], policy=ONCE, breaker=BreakerPolicy(minimum=2, open_s=0.0))
    results = [await turns.ask(stream=stream) for _ in range(5)]
    assert [result.trail.provider for result in results] == ["groq", "groq", "openai", "openai", "openai"]
    assert turns.router.health()["openai"].state == "up"


async def test_with_nobody_else_a_failing_provider_is_still_asked() -> None:
    upstream = Pretended(openai=[*[fails()] * 10, answers()])
    turns = Turns(upstream, policy=ONCE, breaker=BreakerPolicy(minimum=2, open_s=1000.0))
    results = [await turns.ask() for _ in range(11)]
    assert [result.error is None for result in results] == [False] * 10 + [True]
    assert turns.router.health()["openai"].state == "up"


async def test_a_silent_provider_is_asked_once_more_only_when_alone() -> None:
    silence = fails("timeout", None)
    alone = Pretended(openai=silence)
    await Turns(alone).ask()
    assert len(alone.calls) == 2
    upstream = Pretended(openai=silence, groq=answers())
    await Turns(upstream, fallback=["groq"]).ask()
    assert [call.provider for call in upstream.calls] == ["openai", "groq"]


async def test_all_keys_at_their_limit_and_nobody_else() -> None:
    upstream = Pretended(openai=fails("rate_limited", 429, retry_after=40.0))
    turns = Turns(upstream, keys={"openai": 2})
    result = await turns.ask()
    assert result.error is not None
    assert (result.error.code, result.error.retry_after) == ("provider_overloaded", 40.0)
    assert len(upstream.calls) == 2
    health = turns.router.health()["openai"]
    assert (health.state, {key.state for key in health.keys}) == ("up", {"limited"})


async def test_while_its_keys_rest_the_next_provider_is_asked() -> None:
    upstream = Pretended(openai=fails("rate_limited", 429, retry_after=40.0), groq=answers())
    turns = Turns(upstream, fallback=["groq"])
    results = [await turns.ask() for _ in range(5)]
    assert [call.provider for call in upstream.calls] == ["openai"] + ["groq"] * 5
    assert [result.tried for result in results[1:]] == [[]] * 4


async def test_the_gateways_own_mistakes_are_not_the_providers() -> None:
    upstream = Pretended(openai=Act(error=GatewayError("internal_error", "…")), groq=answers())
    result = await Turns(upstream, fallback=["groq"]).ask()
    assert result.error is not None
    assert result.error.code == "internal_error"
