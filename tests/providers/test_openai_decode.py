"""Chat Completions replies: what the recordings do not show."""

import json
from typing import Any

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamError
from gateway.providers.openai import PROVIDER
from tests.providers import fixture_cases as fx
from tests.providers.openai_chunks import FINISH, delta, sse, streamed


def error_of(events: list[ev.Event]) -> UpstreamError:
    end = fx.terminal(events)
    assert isinstance(end, ev.Failed)
    assert isinstance(end.error, UpstreamError)
    return end.error


def test_tokens_come_one_by_one_behind_the_model_name() -> None:
    events = streamed(delta(role="assistant", content=""), delta(content="مرحبًا"), delta(content=" بك"), FINISH)
    assert events == [ev.Started("gpt-x"), ev.TextDelta("مرحبًا"), ev.TextDelta(" بك"), ev.Finished("stop")]


def test_usage_behind_the_finish_reason_counts() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    events = streamed(delta(content="نعم"), FINISH, usage)
    assert events[-2:] == [ev.UsageReported(3, 4), ev.Finished("stop")]


def test_the_last_usage_wins_and_odd_counts_are_unknown() -> None:
    first = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    second = {"choices": [], "usage": {"prompt_tokens": "3", "completion_tokens": 4, "prompt_tokens_details": None}}
    third = {"choices": [], "usage": {"completion_tokens": True, "completion_tokens_details": {"reasoning_tokens": -1}}}
    assert fx.fold(streamed(first, second, third, FINISH)).usage == ev.UsageReported(3, 4)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "error"), ("error", "error")],
)
def test_finish_reasons(raw: str, reason: str) -> None:
    events = streamed({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": raw}]})
    assert fx.terminal(events) == ev.Finished(reason)  # type: ignore[arg-type]


def test_tool_calls_as_a_reason_without_a_call_is_an_error() -> None:
    events = streamed({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    assert fx.terminal(events) == ev.Finished("error")


def test_done_without_a_finish_reason_is_a_good_end() -> None:
    assert fx.terminal(streamed(delta(content="x"))) == ev.Finished("stop")
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    assert fx.terminal(streamed(delta(tool_calls=[call]))) == ev.Finished("tool_calls")


def test_a_finish_reason_is_the_end_where_no_done_follows() -> None:
    events = streamed(delta(content="كله"), FINISH, done=False)
    assert fx.fold(events).content == "كله"
    assert fx.terminal(events) == ev.Finished("stop")


def test_an_end_without_either_is_a_cut() -> None:
    error = error_of(streamed(delta(content="نصف"), done=False))
    assert (error.code, error.kind, error.retryable) == ("provider_error", "broken", True)


def test_an_empty_stream_is_a_cut() -> None:
    assert error_of(fx.decode_stream(PROVIDER, b"")).kind == "broken"


def test_other_choices_are_ignored() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    events = streamed(other, delta(content="yes"), other, FINISH)
    assert fx.fold(events).content == "yes"
    assert fx.terminal(events) == ev.Finished("stop")


def test_content_parts_refusals_and_reasoning() -> None:
    parts = [{"type": "text", "text": "أ"}, {"type": "refusal", "refusal": "لا"}, 5, {"type": "text", "text": None}]
    events = streamed(delta(reasoning_content="فكرة"), delta(content=parts), FINISH)
    assert events[1:] == [
        ev.ReasoningDelta("فكرة"),
        ev.TextDelta("أ"),
        ev.TextDelta("لا"),
        ev.Finished("content_filter"),
    ]


def test_citations_in_a_stream() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "عنوان"}}
    events = streamed(delta(content="x", annotations=[citation, {"type": "other"}, None]), FINISH)
    assert ev.SourceFound("url_citation", "عنوان", "https://a.example") in events
    assert sum(isinstance(event, ev.SourceFound) for event in events) == 1


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        ({"message": "m", "type": "server_error"}, None, "provider_error", "server"),
        ({"message": "m", "code": "rate_limit_exceeded"}, None, "provider_overloaded", "rate_limited"),
        ({"message": "m", "type": "insufficient_quota"}, None, "provider_overloaded", "quota"),
        ({"message": "m", "type": "invalid_request_error"}, None, "provider_rejected", "rejected"),
        ({"message": "m", "code": "invalid_api_key", "type": "invalid_request_error"}, None, "provider_error", "key_refused"),
        ({"message": "m", "code": 503}, 503, "provider_overloaded", "overloaded"),
        ({"message": "m", "code": "504"}, 504, "provider_timeout", "timeout"),
        ({"message": "m", "status_code": 429, "code": "server_error"}, 429, "provider_overloaded", "rate_limited"),
        ({"message": "m", "code": 7}, None, "provider_error", "server"),
        ("boom", None, "provider_error", "server"),
    ],
)
def test_an_error_in_a_frame_ends_the_stream(error: Any, status: int | None, code: str, kind: str) -> None:
    events = streamed(delta(content="قبل"), {"error": error}, delta(content="after"), FINISH)
    found = error_of(events)
    assert fx.fold(events).content == "قبل"
    assert (found.upstream_status, found.code, found.kind) == (status, code, kind)
    assert "error" in found.upstream_text


def test_an_error_event_needs_no_error_object() -> None:
    body = sse(delta(content="x"), done=False) + b'event: error\ndata: {"message": "m", "code": 500}\n\n'
    assert error_of(fx.decode_stream(PROVIDER, body)).upstream_status == 500


def test_a_chunk_that_is_no_json_breaks_the_reply() -> None:
    error = error_of(streamed(delta(content="x"), b'{"choices": [', FINISH))
    assert (error.code, error.kind, error.upstream_text) == ("provider_error", "broken", '{"choices": [')


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"choices": null, "error": null, "usage": null}',
        b'{"choices": {}, "usage": [], "error": {}, "x_groq": 1}',
        b'{"choices": [null, 1, {"index": "0"}, {"index": [], "delta": {"content": "no"}}]}',
        b'{"choices": [{"index": 0, "delta": 7, "finish_reason": {}}]}',
        b'{"choices": [{"index": 0, "delta": {"content": 7, "tool_calls": 3, "function_call": [], "refusal": {}}}]}',
        b'{"choices": [{"index": 0, "delta": {"annotations": {}, "executed_tools": [{"search_results": []}, 1]}}]}',
        b'{"choices": [{"index": 0, "delta": {"tool_calls": [null, {}, {"index": 0}, {"function": 1}]}}]}',
    ],
)
def test_values_of_a_wrong_type_are_skipped(odd: bytes) -> None:
    events = streamed(odd, delta(content="بعد"), FINISH)
    assert fx.fold(events).content == "بعد"
    assert fx.terminal(events) == ev.Finished("stop")


def test_a_whole_reply_in_place_of_a_stream_is_read() -> None:
    body = fx.case("openai", "json-tools-parallel").body
    assert fx.decode_stream(PROVIDER, body) == PROVIDER.decode_reply(body)


def test_a_bare_error_behind_the_frames_is_read() -> None:
    bare = b'{\n "error": {"message": "m", "code": 503}\n}\n'
    assert error_of(fx.decode_stream(PROVIDER, bare)).kind == "overloaded"
    events = fx.decode_stream(PROVIDER, sse(delta(content="x"), done=False) + bare)
    assert fx.fold(events).content == "x"
    assert error_of(events).kind == "overloaded"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"index": 0}]}', b'{"choices": [{"message": 1}]}'],
)
def test_a_whole_reply_without_an_answer_is_broken(body: bytes) -> None:
    assert error_of(PROVIDER.decode_reply(body)).kind == "broken"


def test_a_whole_reply_may_be_an_error_with_status_200() -> None:
    error = error_of(PROVIDER.decode_reply(b'{"error": {"message": "m", "type": "server_error", "code": null}}'))
    assert (error.code, error.kind, error.upstream_status) == ("provider_error", "server", None)


def test_a_whole_reply_takes_the_first_choice() -> None:
    choices = [{"index": 1, "message": {"content": "no"}}, {"index": 0, "message": {"content": "نعم"}}]
    events = PROVIDER.decode_reply(json.dumps({"choices": choices}).encode())
    assert events == [ev.Started(None), ev.TextDelta("نعم"), ev.Finished("stop")]
