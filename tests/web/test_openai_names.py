"""Which provider a model's name stands for, and which turn a retry."""

from typing import Any

import pytest

from gateway.core.errors import GatewayError
from gateway.core.messages import TextPart
from gateway.core.request import Entry, RawCall
from gateway.engine.routing import Router, Target
from gateway.store.base import EarlierReply
from gateway.web.openai_models import Named, resolve
from gateway.web.openai_threads import RETRIED_WITHIN_S, LostReplies, earlier_replies
from tests.engine.clocks import Clock
from tests.engine.stage import TARGET
from tests.engine.turns import live


def router(default: str = "openai", **models: tuple[str, ...]) -> Router:
    """A router of providers with these models; one whose name ends in `_` has no key."""
    targets = [
        Target(name.rstrip("_"), TARGET.wire, "http://unused", () if name.endswith("_") else ("key",), offered)
        for name, offered in models.items()
    ]
    return Router(targets, default)


ROUTER = router(
    openai=("gpt", "both"),
    groq=("openai/gpt", "openai/oss", "both", "shared"),
    google=("gemini", "shared"),
    anthropic_=("claude", "gpt-too"),
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openai/gpt", Named("openai", "gpt", pinned=True)),
        ("groq/openai/gpt", Named("groq", "openai/gpt", pinned=True)),
        ("gemini/gemini", Named("google", "gemini", pinned=True)),
        ("anthropic/claude", Named("anthropic", "claude", pinned=True)),
        ("gpt", Named("openai", "gpt", pinned=False)),
        ("openai/oss", Named("groq", "openai/oss", pinned=False)),
        ("both", Named("openai", "both", pinned=False)),
    ],
)
def test_names_of_models(name: str, found: Named) -> None:
    assert resolve(ROUTER, name) == found


@pytest.mark.parametrize("name", ["", "openai", "openai/", "/gpt", "claude", "gpt/openai", "openai/openai/gpt", "OPENAI/gpt"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        resolve(ROUTER, name)
    assert caught.value.code == "unknown_model"


def test_a_name_that_several_have() -> None:
    with pytest.raises(GatewayError, match="groq/shared, google/shared"):
        resolve(ROUTER, "shared")


def entry(role: Any, text: str = "", *call_ids: str | None) -> Entry:
    return Entry(role, (TextPart(text),) if text else (), tuple(RawCall(call_id, "search", {}) for call_id in call_ids))


def test_the_newest_replies_of_a_history() -> None:
    history = [entry("system", "أجب")]
    for number in range(6):
        history += [entry("user", f"س{number}"), entry("assistant", f"ج{number}")]
    history += [entry("user", "س"), entry("assistant", "", "call_1", None, "call_2"), entry("tool", "نتيجة")]
    assert earlier_replies(history) == (
        EarlierReply("", "س", ("call_1", "call_2")),
        EarlierReply("ج5", "س5", ()),
        EarlierReply("ج4", "س4", ()),
        EarlierReply("ج3", "س3", ()),
    )
    assert earlier_replies([entry("assistant", "مرحبا"), entry("user", "س")]) == (EarlierReply("مرحبا", None, ()),)
    assert earlier_replies([entry("user", "س")]) == ()


async def test_a_lost_reply_is_given_to_one_retry() -> None:
    lost, turns = LostReplies(Clock()), [live(), live()]
    for turn in turns:
        lost.add(turn)
    place = turns[0].begun.caller, turns[0].begun.request_hash
    assert lost.take("somebody else", place[1]) is None
    assert lost.take(place[0], "another request") is None
    assert [lost.take(*place) for _ in range(3)] == [turns[1].begun.turn_id, turns[0].begun.turn_id, None]


async def test_a_lost_reply_is_forgotten_in_time() -> None:
    clock, turn = Clock(), live()
    lost = LostReplies(clock)
    lost.add(turn)
    clock.pass_(RETRIED_WITHIN_S)
    lost.add(live())
    assert lost.take(None, "hash") is not None
    assert lost.take(None, "hash") == turn.begun.turn_id
    lost.add(turn)
    clock.pass_(RETRIED_WITHIN_S + 1)
    assert lost.take(None, "hash") is None
