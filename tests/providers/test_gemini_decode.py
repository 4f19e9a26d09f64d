"""What Gemini's chunks mean, beyond the recordings: odd orders, missing fields, errors in odd places."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamError
from gateway.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCalled,
    UsageReported,
)
from gateway.core.jsontext import dumps
from gateway.providers.gemini import PROVIDER
from gateway.wire.sse import Frame
from tests.providers import fixture_cases as fx

ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    reason = {} if finish is None else {"finishReason": finish}
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}} | reason | more]}


def streamed(*chunks: object, stray: str = "") -> list[Event]:
    """Return the events of a stream of these chunks, CRLF-framed, and of what stood behind them."""
    frames = b"".join(b"data: " + dumps(value) + b"\r\n\r\n" for value in chunks)
    return fx.decode_stream(PROVIDER, frames + stray.encode())


def whole(value: object) -> list[Event]:
    return PROVIDER.decode_reply(dumps(value))


def error_of(events: list[Event]) -> UpstreamError:
    end = fx.terminal(events)
    assert isinstance(end, Failed)
    assert isinstance(end.error, UpstreamError)
    return end.error


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *[(name, "content_filter") for name in ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT")],
        *[(name, "content_filter") for name in ("SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION")],
        *[(name, "error") for name in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS")],
        *[(name, "error") for name in ("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "OTHER", "كلمة جديدة")],
    ],
)
def test_finish_reasons(finish: str, reason: str) -> None:
    for events in (streamed(chunk(finish=finish)), whole(chunk(finish=finish))):
        end = fx.terminal(events)
        assert isinstance(end, Finished)
        assert end.reason == reason


def test_what_comes_behind_the_finish_reason_counts() -> None:
    events = streamed(chunk({"text": "أ"}, finish="STOP"), chunk({"text": "ب"}), chunk({"text": "ج"}, finish="STOP"))
    assert fx.fold(events).content == "أبج"
    assert fx.terminal(events) == Finished("stop")


@pytest.mark.parametrize("finish", [None, "", "FINISH_REASON_UNSPECIFIED", 7])
def test_a_stream_without_a_reason_is_cut_a_whole_reply_is_not(finish: Any) -> None:
    said, empty = chunk({"text": "أ"}), chunk()
    for value in (said, empty):
        value["candidates"][0]["finishReason"] = finish
    assert error_of(streamed(said)).kind == "broken"
    assert fx.terminal(whole(said)) == Finished("stop")
    assert fx.terminal(whole(empty)) == Finished("error")


def test_only_the_first_candidate_is_read() -> None:
    others = [{"index": 1, "content": {"parts": [{"text": "لا"}]}, "finishReason": "SAFETY"}]
    value = chunk({"text": "نعم"}, finish="STOP", index=0)
    value["candidates"] = others + value["candidates"]
    events = streamed({"candidates": others}, value, {"candidates": others})
    assert fx.fold(events).content == "نعم"
    assert fx.terminal(events) == Finished("stop")


def test_parts_of_every_kind() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "أفكر", "thought": True},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"toolCall": {"toolType": "FILE_SEARCH"}, "thoughtSignature": "AbCd"},
        {"text": ""},
        {"text": "كتاب"},
        {"functionCall": {"name": "now"}},
        {"functionCall": {"name": "get_entry", "args": {"id": 7}, "id": "8f3k"}},
        {"functionCall": {"name": "odd", "args": "not an object"}},
        {"functionCall": {"args": {}}},
    ]
    spoken = (ReasoningDelta, TextDelta, ToolCalled)
    assert [event for event in streamed(chunk(*parts, finish="STOP")) if isinstance(event, spoken)] == [
        ReasoningDelta("أفكر"),
        TextDelta("كتاب"),
        ToolCalled(None, "now", {}),
        ToolCalled("8f3k", "get_entry", {"id": 7}),
        ToolCalled(None, "odd", "not an object"),
    ]


def test_the_model_is_named_once_and_first() -> None:
    said = chunk({"text": "أ"}) | {"modelVersion": "gemini-3.8-flash"}
    events = streamed(said, said, chunk(finish="STOP"))
    assert events[0] == Started("gemini-3.8-flash")
    assert sum(isinstance(event, Started) for event in events) == 1


def test_usage_grows_and_the_last_word_wins_field_by_field() -> None:
    counts: list[dict[str, Any]] = [
        {"promptTokenCount": 20, "totalTokenCount": 20, "cachedContentTokenCount": 8},
        {"promptTokenCount": 18, "thoughtsTokenCount": 5, "totalTokenCount": 23},
        {"promptTokenCount": 18, "candidatesTokenCount": 7, "totalTokenCount": 30},
    ]
    chunks = [chunk({"text": "أ"}, finish="STOP") | {"usageMetadata": count} for count in counts]
    events = streamed(*chunks)
    assert fx.fold(events).usage == UsageReported(18, 12, 8, 5)
    assert next(event for event in events if isinstance(event, UsageReported)) == UsageReported(20, None, 8)


def test_an_unknown_count_is_not_zero() -> None:
    only_prompt = {"usageMetadata": {"promptTokenCount": 20, "totalTokenCount": 20}}
    assert fx.fold(streamed(chunk({"text": "أ"}) | only_prompt)).usage == UsageReported(20)
    assert fx.fold(streamed(chunk(finish="SAFETY") | only_prompt)).usage == UsageReported(20, 0)
    untold = {"usageMetadata": {"promptTokenCount": 20}}
    assert fx.fold(streamed(chunk({"text": "أ"}, finish="STOP") | untold)).usage == UsageReported(20)
    assert fx.fold(streamed(chunk({"text": "أ"}, finish="STOP"))).usage == UsageReported()


@pytest.mark.parametrize("framed", [ERROR, [ERROR]])
def test_a_framed_error_fails_even_behind_a_stop(framed: object) -> None:
    events = streamed(chunk({"text": "أ"}, finish="STOP") | {"usageMetadata": {"promptTokenCount": 3}}, framed)
    assert (error_of(events).code, error_of(events).upstream_status) == ("provider_overloaded", 503)
    assert fx.fold(events).content == "أ"
    assert fx.fold(events).usage.input_tokens == 3


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("unframed", [ERROR, [ERROR]])
def test_an_unframed_error_fails_even_behind_a_stop(unframed: object, indent: int | None) -> None:
    events = streamed(chunk({"text": "أ"}, finish="STOP"), stray=json.dumps(unframed, indent=indent))
    assert error_of(events).upstream_status == 503
    assert error_of(events).kind == "overloaded"


def test_half_an_unframed_error_is_no_good_end() -> None:
    events = streamed(chunk({"text": "أ"}, finish="STOP"), stray=json.dumps(ERROR, indent=2)[:40])
    assert error_of(events).kind == "broken"


def test_other_words_behind_the_frames_change_nothing() -> None:
    assert fx.terminal(streamed(chunk({"text": "أ"}, finish="STOP"), stray="bye\n")) == Finished("stop")
    assert error_of(streamed(chunk({"text": "أ"}), stray="<html>502</html>\n")).kind == "broken"


def test_chunks_without_frames_are_read() -> None:
    chunks = [chunk({"text": "أ"}), chunk({"text": "ب"}, finish="STOP")]
    for events in (whole(chunks), streamed(stray=json.dumps(chunks, indent=1))):
        assert fx.fold(events).content == "أب"
        assert fx.terminal(events) == Finished("stop")
    assert error_of(PROVIDER.decode_reply(dumps(chunks)[:-5])).kind == "broken"


@pytest.mark.parametrize("candidates", [{}, {"candidates": []}])
def test_a_blocked_prompt_is_the_callers_error(candidates: dict[str, Any]) -> None:
    value = candidates | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    for events in (streamed(value), whole(value)):
        error = error_of(events)
        assert (error.code, error.kind, error.retryable, len(events)) == ("provider_rejected", "rejected", False, 1)
        assert "PROHIBITED_CONTENT" in error.upstream_text
        assert "PROHIBITED_CONTENT" not in error.detail


def test_a_block_behind_text_cuts_the_reply() -> None:
    events = streamed(chunk({"text": "أ"}), {"promptFeedback": {"blockReason": "SAFETY"}})
    assert fx.fold(events).content == "أ"
    assert fx.terminal(events) == Finished("content_filter")


def test_sources_with_what_is_known_of_them() -> None:
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a.example", "title": "أ"}},
            {"retrievedContext": {"text": "كتب الدرس", "title": "ب"}},
            {"maps": {"uri": "https://maps.example", "title": "ج"}},
            {"image": {"sourceUri": "https://i.example"}},
            7,
        ]
    }
    cited = {"citationSources": [{"uri": "https://c.example", "startIndex": 1}, {"license": "mit"}]}
    fetched = {"urlMetadata": [{"retrievedUrl": "https://u.example"}, {}]}
    meta: dict[str, Any] = {"groundingMetadata": grounding, "citationMetadata": cited, "urlContextMetadata": fetched}
    events = streamed(chunk({"text": "أ"}, **meta), chunk({"text": "ب"}, finish="STOP", **meta))
    found = fx.fold(events).sources
    assert [(source.type, source.title, source.url, source.snippet) for source in found] == [
        ("url_context", None, "https://u.example", None),
        ("web", "أ", "https://a.example", None),
        ("retrieved_context", "ب", None, "كتب الدرس"),
        ("maps", "ج", "https://maps.example", None),
        ("citation", None, "https://c.example", None),
    ]


@pytest.mark.parametrize("data", [b"{", b"<html>", b"\xff", b"[DONE]"])
def test_a_frame_that_is_no_json_breaks_the_reply(data: bytes) -> None:
    assert error_of(PROVIDER.decoder().feed(Frame("", data))).kind == "broken"


@pytest.mark.parametrize("data", [b"", b" ", b"7", b"null", b"{}", b"[]", b'"x"', b"[7]", b'{"candidates":7}'])
def test_a_frame_that_says_nothing_is_skipped(data: bytes) -> None:
    assert PROVIDER.decoder().feed(Frame("", data)) == []


@pytest.mark.parametrize("body", [b"", b"7", b"null", b"{}", b"[]", b'{"modelVersion":"x"}', b"<html>", b"[" * 5000])
def test_a_body_that_is_no_reply_is_broken(body: bytes) -> None:
    events = PROVIDER.decode_reply(body)
    assert len(events) == 1
    assert error_of(events).kind == "broken"


KEYS = [
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args", "id"),
    *("index", "finishReason", "error", "code", "status", "message", "details", "promptFeedback", "blockReason"),
    *("usageMetadata", "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "modelVersion"),
    *("groundingMetadata", "groundingChunks", "web", "uri", "title", "citationMetadata", "citationSources"),
    *("urlContextMetadata", "urlMetadata", "retrievedUrl"),
]
leaves = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=5)
anything = st.recursive(
    leaves | st.sampled_from(["STOP", "SAFETY", "أ"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)
odd_candidates = st.fixed_dictionaries(
    {"candidates": st.lists(st.fixed_dictionaries({"content": anything}) | anything, max_size=2)},
    optional={"usageMetadata": anything, "promptFeedback": anything, "error": anything, "modelVersion": anything},
)


@given(chunks=st.lists(odd_candidates | anything, max_size=3), stray=st.text(max_size=20))
def test_wrong_types_anywhere_are_skipped(chunks: list[Any], stray: str) -> None:
    for events in (streamed(*chunks, stray=stray), whole(chunks), *[whole(value) for value in chunks]):
        fx.terminal(events)
        fx.fold(events)
