"""Used-up limits in the head of a good reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.messages import AssistantMessage, Prompt, TextPart, UserMessage
from gateway.providers.base import Route
from gateway.providers.limits import anthropic_limits, chat_limits
from gateway.providers.registry import PROVIDERS

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "8s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "8s"}, 8.0),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 12.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "6ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1m2.5s",
            },
            62.5,
        ),
    ],
)
def test_openai_and_groq(headers: dict[str, str], wait: float | None) -> None:
    assert chat_limits(headers) == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize(
    ("left", "reset", "wait"),
    [
        ("0", "2026-11-23T10:00:30Z", 30.0),
        ("0", "2026-11-23T10:00:30+00:00", 30.0),
        ("0", "2026-11-23T09:59:00Z", 0.0),
        ("0", "soon", None),
        ("5", "2026-11-23T10:00:30Z", None),
    ],
)
def test_anthropic(left: str, reset: str, wait: float | None) -> None:
    headers = {
        "date": DATE,
        "anthropic-ratelimit-input-tokens-remaining": left,
        "anthropic-ratelimit-input-tokens-reset": reset,
    }
    assert anthropic_limits(headers) == wait


def test_names_in_any_case() -> None:
    assert chat_limits(CIMultiDict({"X-RateLimit-Remaining-Tokens": "0", "X-RateLimit-Reset-Tokens": "2s"})) == 2.0


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_reset_is_too_odd(reset: str, date: str) -> None:
    assert (chat_limits({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset}) or 0) >= 0
    headers = {
        "date": date,
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": reset,
    }
    assert (anthropic_limits(headers) or 0) >= 0


def test_who_goes_on_from_the_beginning_of_an_answer() -> None:
    prompt = Prompt((UserMessage((TextPart("ما الجذر؟"),)), AssistantMessage("الجذر هو")))
    anthropic = PROVIDERS["anthropic"]
    assert anthropic.prefill("claude-sonnet-4-5")
    assert not anthropic.prefill("claude-haiku-5-5")
    assert not PROVIDERS["openai"].prefill("gpt-6-luna")
    body = anthropic.encode(prompt, Route("anthropic", "claude-sonnet-4-5", "http://x", "k"), True).body.decode()
    assert '"role":"assistant","content":[{"type":"text","text":"الجذر هو"}]}]' in body
