"""Anthropic's replies as events: what the recordings do not show."""

from typing import Any

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamError
from gateway.core.jsontext import dumps, loads
from gateway.providers.anthropic import PROVIDER
from gateway.wire.sse import Frame
from tests.providers import fixture_cases as fx

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
START = {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 9, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: Any, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def decode(*data: Any) -> list[ev.Event]:
    """Decode a stream of these events, up to its terminal one."""
    decoder, events = PROVIDER.decoder(), list[ev.Event]()
    for item in data:
        name = item.get("type", "") if isinstance(item, dict) else ""
        events += decoder.feed(Frame(str(name), dumps(item)))
        if fx.is_terminal(events):
            return events
    return events + decoder.end("")


def failure(events: list[ev.Event]) -> UpstreamError:
    end = fx.terminal(events)
    assert isinstance(end, ev.Failed)
    assert isinstance(end.error, UpstreamError)
    return end.error


def as_stream(message: dict[str, Any]) -> list[Any]:
    """Return the events in which a whole message would have been streamed."""
    head = {**message, "content": [], "stop_reason": None}
    events: list[Any] = [{"type": "message_start", "message": head}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        bare, pieces = dict(block), []
        for field, kind in (("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")):
            if field in bare:
                pieces.append(delta(index, kind, **{field: bare[field]}))
                bare[field] = ""
        pieces += [delta(index, "citations_delta", citation=cited) for cited in bare.pop("citations", None) or []]
        if bare["type"] == "tool_use":
            pieces.append(delta(index, "input_json_delta", partial_json=dumps(bare["input"]).decode()))
            bare["input"] = {}
        events += [opened(index, **bare), *pieces, closed(index)]
    return [*events, ended(message["stop_reason"], **message["usage"]), STOP]


@pytest.mark.parametrize("case", fx.replies("anthropic"), ids=str)
def test_a_reply_is_the_same_streamed_and_whole(case: fx.Case) -> None:
    whole = PROVIDER.decode_reply(case.body)
    message = loads(case.body)
    assert fx.fold(decode(*as_stream(message))) == fx.fold(whole)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons(reason: str | None, expected: str) -> None:
    assert fx.terminal(decode(START, ended(reason), STOP)) == ev.Finished(expected)  # type: ignore[arg-type]


def test_a_refusal_in_the_middle_keeps_its_text() -> None:
    events = decode(START, opened(0, type="text", text=""), delta(0, "text_delta", text="لا"), ended("refusal"), STOP)
    reply = fx.fold(events)
    assert (reply.content, reply.finish_reason) == ("لا", "content_filter")


def test_a_stop_reason_is_the_end_even_when_nothing_follows() -> None:
    said = (START, opened(0, type="text", text=""), delta(0, "text_delta", text="نعم"))
    reply = fx.fold(decode(*said, ended("end_turn", output_tokens=4)))
    assert (reply.content, reply.finish_reason, reply.usage.output_tokens) == ("نعم", "stop", 4)
    error = failure(decode(*said))
    assert (error.code, error.kind, error.retryable) == ("provider_error", "broken", True)


@pytest.mark.parametrize(
    "pieces",
    [
        [opened(0, type="tool_use", id="toolu_1", name="بحث", input={"q": "عين"}), closed(0)],
        [
            opened(0, type="tool_use", id="toolu_1", name="بحث", input={}),
            delta(0, "input_json_delta", partial_json=""),
            delta(0, "input_json_delta", partial_json='{"q": "ع'),
            delta(0, "input_json_delta", partial_json='ين"}'),
            closed(0),
            closed(0),
        ],
        [
            opened(0, type="tool_use", id="toolu_1", name="بحث"),
            delta(0, "input_json_delta", partial_json='{"q": "عين"}'),
        ],
    ],
    ids=["whole in the start", "in pieces, stopped twice", "never stopped"],
)
def test_a_call_comes_once_and_whole(pieces: list[dict[str, Any]]) -> None:
    reply = fx.fold(decode(START, *pieces, ended("tool_use"), STOP))
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("toolu_1", "بحث", {"q": "عين"})]


def test_a_call_is_told_as_soon_as_its_block_stops() -> None:
    decoder = PROVIDER.decoder()
    for item in (START, opened(0, type="tool_use", id="a", name="x", input={})):
        assert not [event for event in decoder.feed(Frame("", dumps(item))) if isinstance(event, ev.ToolCalled)]
    assert decoder.feed(Frame("", dumps(closed(0)))) == [ev.ToolCalled("a", "x", {})]


def test_a_call_cut_by_the_token_limit_keeps_what_came() -> None:
    call = opened(0, type="tool_use", id="a", name="x"), delta(0, "input_json_delta", partial_json='{"q": "ع')
    reply = fx.fold(decode(START, *call, closed(0), ended("max_tokens"), STOP))
    assert (reply.tool_calls[0].arguments, reply.tool_calls[0].arguments_text) == ({}, '{"q": "ع')
    assert reply.finish_reason == "length"


def test_tools_that_ran_at_the_provider_are_no_calls() -> None:
    ran = [opened(at, type=kind, id="x", name="y", input={}) for at, kind in enumerate(("server_tool_use", "mcp_tool_use"))]
    assert not fx.fold(decode(START, *ran, ended("end_turn"), STOP)).tool_calls


@pytest.mark.parametrize(
    ("citation", "source"),
    [
        (
            {"type": "content_block_location", "document_title": "معجم", "cited_text": "عين"},
            ev.SourceFound("content_block_location", title="معجم", snippet="عين"),
        ),
        (
            {"type": "search_result_location", "source": "https://example.org", "title": None},
            ev.SourceFound("search_result_location", url="https://example.org"),
        ),
        (
            {"type": "web_search_result_location", "url": "https://example.org", "title": "ص", "cited_text": "ن"},
            ev.SourceFound("web_search_result_location", title="ص", url="https://example.org", snippet="ن"),
        ),
    ],
)
def test_citations(citation: dict[str, Any], source: ev.SourceFound) -> None:
    assert source in decode(START, delta(0, "citations_delta", citation=citation), ended("end_turn"), STOP)


def test_counts_are_cumulative_and_unknown_ones_stay_unknown() -> None:
    usage = fx.fold(decode(START, ended("end_turn", input_tokens=None, output_tokens=12), STOP)).usage
    assert usage == ev.UsageReported(input_tokens=9, output_tokens=12)
    cached = {"cache_read_input_tokens": 50, "cache_creation_input_tokens": 7, "output_tokens": 12}
    usage = fx.fold(decode(START, ended("end_turn", **cached), STOP)).usage
    assert usage == ev.UsageReported(66, 12, cached_tokens=50, cache_write_tokens=7)


def test_what_is_unknown_or_of_the_wrong_type_is_skipped() -> None:
    odd = [
        {"type": "hello"},
        {"type": ["content_block_delta"]},
        [1],
        "text",
        None,
        delta(0, "new_delta", text="x"),
        delta([0], "text_delta", text=7),
        {"type": "content_block_delta", "index": 0, "delta": "text"},
        {"type": "content_block_start", "index": {}, "content_block": None},
        {"type": "message_delta", "delta": [], "usage": {"output_tokens": "many"}},
        {"type": "message_start", "message": 5},
        closed(77),
    ]
    events = decode(START, *odd, delta(0, "text_delta", text="سلام"), ended("end_turn"), STOP)
    reply = fx.fold(events)
    assert (reply.content, reply.finish_reason) == ("سلام", "stop")
    assert len([event for event in events if isinstance(event, ev.Started)]) == 1


def test_data_that_is_no_json_breaks_the_reply() -> None:
    assert failure(PROVIDER.decoder().feed(Frame("ping", b"<html>"))).kind == "broken"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"{}", b'{"content": "text"}', b"\xff"])
def test_a_whole_reply_that_is_none(body: bytes) -> None:
    assert failure(PROVIDER.decode_reply(body)).kind == "broken"


def test_an_error_in_place_of_a_whole_reply() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert failure(PROVIDER.decode_reply(dumps(body))).code == "provider_overloaded"
