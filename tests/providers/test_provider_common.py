"""Helpers that every wire format shares."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers import common
from gateway.providers.base import Provider
from gateway.providers.common import as_int, by_status, duration, portable_id, retry_after
from gateway.providers.registry import PROVIDERS, RESPONSES


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (301, "provider_error", "broken", True),
        (400, "provider_rejected", "rejected", False),
        (401, "provider_error", "key_refused", False),
        (402, "provider_overloaded", "quota", False),
        (403, "provider_error", "key_refused", False),
        (404, "provider_error", "rejected", False),
        (405, "provider_error", "broken", True),
        (408, "provider_timeout", "timeout", True),
        (409, "provider_error", "server", True),
        (413, "provider_rejected", "rejected", False),
        (422, "provider_rejected", "rejected", False),
        (429, "provider_overloaded", "rate_limited", True),
        (498, "provider_overloaded", "overloaded", True),
        (500, "provider_error", "server", True),
        (503, "provider_overloaded", "overloaded", True),
        (504, "provider_timeout", "timeout", True),
        (529, "provider_overloaded", "overloaded", True),
    ],
)
def test_statuses(status: int, code: str, kind: str, retryable: bool) -> None:
    error = by_status(status, {}, "body")
    assert (error.code, error.kind, error.retryable) == (code, kind, retryable)
    assert (error.upstream_status, error.upstream_text) == (status, "body")


def test_a_spent_quota_names_no_wait() -> None:
    error = by_status(429, {"retry-after": "5"}, "", quota=True)
    assert (error.kind, error.retry_after) == ("quota", None)


def test_a_wait_from_the_body_goes_first() -> None:
    assert by_status(429, {"retry-after": "5"}, "", wait=48.0).retry_after == 48.0


def test_only_an_overload_names_a_wait() -> None:
    assert by_status(500, {"retry-after": "5"}, "").retry_after is None


@pytest.mark.parametrize(("status", "wait"), [(429, 6.0), (503, None), (529, None)])
def test_limits_that_are_not_reached_say_nothing_about_an_overload(status: int, wait: float | None) -> None:
    assert by_status(status, {"x-ratelimit-reset-tokens": "6s"}, "").retry_after == wait
    assert by_status(status, {"x-ratelimit-reset-tokens": "6s", "retry-after": "2"}, "").retry_after == 2.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1574", "retry-after": "2"}, 1.574),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e12"}, 86_400.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2020 10:00:00 GMT"}, 0.0),
        ({"x-ratelimit-reset-tokens": "1m2.5s"}, 62.5),
        ({"x-ratelimit-reset-requests": "6ms"}, 0.006),
        ({"x-ratelimit-reset-requests": "6ms", "x-ratelimit-reset-tokens": "9s"}, 9.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2h",
                "x-ratelimit-remaining-tokens": "12",
                "x-ratelimit-reset-tokens": "9s",
            },
            7200.0,
        ),
        ({"x-ratelimit-reset-tokens": "later"}, None),
    ],
)
def test_waits(headers: dict[str, str], wait: float | None) -> None:
    found = retry_after(headers)
    assert found == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize("text", ["", "5", "s", "1s 2m", "5 s", "-1s", "1x"])
def test_what_is_no_duration(text: str) -> None:
    assert duration(text) is None


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]), st.text(max_size=40)))
def test_no_header_is_too_odd(headers: dict[str, str]) -> None:
    wait = retry_after(headers)
    assert wait is None or 0 <= wait <= common.MAX_WAIT_S


@pytest.mark.parametrize("call_id", ["call_1", "fc_bfb39741-3748-4def-9886-a93fc9c64a90", "0", "a" * 40])
def test_a_portable_id_stays(call_id: str) -> None:
    assert portable_id(call_id) == call_id


@given(st.text())
def test_every_id_becomes_portable(call_id: str) -> None:
    found = portable_id(call_id)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found)
    assert portable_id(call_id) == found == portable_id(found)


def test_different_ids_stay_different() -> None:
    odd = ["functions.x:0", "functions.x:1", "a" * 41, "a" * 42, "نداء", "", "a\n"]
    assert len({portable_id(call_id) for call_id in odd}) == len(odd)


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (7.0, 7), (-1, None), (7.5, None), (True, None), ("7", None), (None, None), (2**31, None), (1e300, None)],
)
def test_counts(value: Any, count: int | None) -> None:
    assert as_int(value) == count


def test_a_cut_never_splits_a_character() -> None:
    assert common.clip("سلام", 5) == "سل"


@pytest.mark.parametrize("provider", [*PROVIDERS.values(), RESPONSES])
@pytest.mark.parametrize(("told", "retryable"), [("false", False), ("true", True), ("", True)])
def test_a_server_that_says_not_to_ask_again_is_obeyed(provider: Provider, told: str, retryable: bool) -> None:
    """In the vendors' own clients this header goes before the status (openai 3.54, anthropic 2.12: `_should_retry`)."""
    for status in (429, 500, 503):
        assert provider.decode_error(status, {"x-should-retry": told}, b"{}").retryable is retryable
