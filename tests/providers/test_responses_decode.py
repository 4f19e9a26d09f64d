"""Replies of the Responses API that no recording shows, and the made-up ones held against the vendor's types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from gateway.core import events as ev
from gateway.core.errors import UpstreamError
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import AssistantMessage, KeptState, Prompt
from gateway.providers.responses import PROVIDER
from gateway.providers.responses_errors import REASONING_ITEMS
from gateway.wire.sse import SseDecoder
from tests.lazily import Lazily
from tests.providers import fixture_cases as fx
from tests.providers.responses_bodies import ENTRY, MODEL, QUESTION, answered, body

if TYPE_CHECKING:
    from openai.types import responses
else:
    responses = Lazily("openai.types.responses")

NAME = "openai-responses"
TWINS = [case.name.removeprefix("handmade-json-") for case in fx.replies(NAME)]


def streamed(*events: dict[str, Any]) -> list[ev.Event]:
    return fx.decode_stream(PROVIDER, b"".join(b"data: %s\n\n" % dumps(event) for event in events))


def delta(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": index, "delta": text}


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def ended(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"status": status, "output": list(output)} | more}


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def error_of(events: list[ev.Event]) -> UpstreamError:
    end = fx.terminal(events)
    assert isinstance(end, ev.Failed)
    assert isinstance(end.error, UpstreamError)
    return end.error


# What errors really look like the types do not know.
TYPED = [case for case in fx.streams(NAME) if "error" not in case.name]


@pytest.mark.parametrize("case", TYPED, ids=str)
def test_the_streams_are_what_the_vendors_types_say(case: fx.Case) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(responses.ResponseStreamEvent)
    frames = SseDecoder().feed(case.body)
    assert frames
    for frame in frames:
        value = json.loads(frame.data)
        assert frame.event == value["type"]
        assert adapter.validate_python(value).type == value["type"]


@pytest.mark.parametrize("case", fx.replies(NAME), ids=str)
def test_the_replies_are_what_the_vendors_types_say(case: fx.Case) -> None:
    assert responses.Response.model_validate_json(case.body).status in ("completed", "incomplete", "failed")


@pytest.mark.parametrize("name", TWINS)
def test_whole_and_streamed_replies_amount_to_the_same(name: str) -> None:
    whole = PROVIDER.decode_reply(fx.case(NAME, f"handmade-json-{name}").body)
    pieces = fx.decode_stream(PROVIDER, fx.case(NAME, f"handmade-stream-{name}").body)
    assert fx.fold(whole) == fx.fold(pieces)
    assert fx.shape(whole[-1:]) == fx.shape(pieces[-1:])


def test_the_model_is_told_at_once() -> None:
    assert streamed({"type": "response.created", "response": {"model": MODEL}}, delta("نعم"))[:2] == [
        ev.Started(MODEL),
        ev.TextDelta("نعم"),
    ]


def test_what_no_delta_told_is_told_at_the_end() -> None:
    reply = fx.fold(streamed(done(message("أولًا. ")), ended(message("أولًا. "), message("ثانيًا."))))
    assert reply.content == "أولًا. ثانيًا."


def test_what_deltas_told_is_not_told_again() -> None:
    assert fx.fold(streamed(delta("نعم"), ended(message("نعم")))).content == "نعم"


def test_calls_that_stand_at_the_end_alone() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "get_entry", "arguments": "{}"}
    reply = fx.fold(streamed(delta("سأبحث."), ended(message("سأبحث."), call)))
    assert [found.id for found in reply.tool_calls] == ["call_1"]
    assert reply.finish_reason == "tool_calls"


def test_free_form_calls_have_their_text_as_input() -> None:
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "math", "input": "4 + 4"}
    assert fx.fold(streamed(done(call), ended(call))).tool_calls[0].arguments == {"input": "4 + 4"}


def test_reasoning_that_is_no_summary() -> None:
    thought = {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "أفكّر"}
    reply = fx.fold(streamed(thought, delta("نعم", 1), ended()))
    assert [found.content for found in reply.thoughts] == ["أفكّر"]


def test_separate_thoughts_need_no_blank_line() -> None:
    events = streamed(
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "أولًا"},
        delta("نعم", 1),
        {"type": "response.reasoning_summary_text.delta", "output_index": 2, "summary_index": 0, "delta": "ثانيًا"},
        ended(),
    )
    assert [found.content for found in fx.fold(events).thoughts] == ["أولًا", "ثانيًا"]


@pytest.mark.parametrize("done_mark", [b"", b"data: [DONE]\n\n"])
def test_an_end_without_completed_is_a_cut(done_mark: bytes) -> None:
    events = fx.decode_stream(PROVIDER, b"data: %s\n\n" % dumps(delta("نصف")) + done_mark)
    assert fx.fold(events).content == "نصف"
    assert (error_of(events).code, error_of(events).kind) == ("provider_error", "broken")


def test_other_ends() -> None:
    assert fx.terminal(streamed(ended(status="incomplete", incomplete_details={"reason": "steered"}))) == ev.Finished("error")
    assert error_of(PROVIDER.decode_reply(b'{"status": "in_progress", "output": []}')).kind == "broken"
    assert error_of(PROVIDER.decode_reply(b"<html>")).kind == "broken"
    assert error_of(fx.decode_stream(PROVIDER, b"data: {\n\n")).kind == "broken"


def test_unknown_events_are_skipped() -> None:
    events = streamed({"type": "response.new_thing", "x": 1}, {"no": "type"}, delta("نعم"), ended())
    assert fx.fold(events).content == "نعم"


@pytest.mark.parametrize(
    ("error", "code", "kind", "retryable"),
    [
        ({"code": "rate_limit_exceeded"}, "provider_overloaded", "rate_limited", True),
        ({"code": "insufficient_quota"}, "provider_overloaded", "quota", False),
        ({"code": "server_is_overloaded"}, "provider_overloaded", "overloaded", True),
        ({"code": "server_error"}, "provider_error", "server", True),
        ({"code": None, "type": "server_error"}, "provider_error", "server", True),
        ({"code": "invalid_prompt", "message": "flagged"}, "provider_rejected", "rejected", False),
        ({"code": "invalid_base64_image", "message": "no image"}, "provider_rejected", "rejected", False),
        ({"code": "context_length_exceeded", "message": "exceeds the context window"}, "provider_rejected", "rejected", False),
        ({}, "provider_error", "server", True),
    ],
)
def test_failures_inside_a_stream(error: dict[str, Any], code: str, kind: str, retryable: bool) -> None:
    told = (
        {"type": "error", **{name: value for name, value in error.items() if name != "type"}},
        {"type": "error", "error": error or {"message": "?"}},
        ended(status="failed", error=error),
    )
    for event in told:
        found = error_of(streamed(event))
        assert (found.code, found.kind, found.retryable) == (code, kind, retryable)


def test_a_failure_keeps_what_was_counted() -> None:
    reply = fx.fold(streamed(delta("نصف"), ended(status="failed", error={}, usage={"input_tokens": 3, "output_tokens": 4})))
    assert (reply.content, reply.usage.output_tokens) == ("نصف", 4)


@pytest.mark.parametrize("kind", ["stream", "json"])
def test_reasoning_is_kept_for_the_next_round(kind: str) -> None:
    case = fx.case(NAME, f"handmade-{kind}-reasoning-tools-parallel")
    decode = fx.decode_stream if kind == "stream" else lambda record, whole: record.decode_reply(whole)
    reply = fx.fold(decode(PROVIDER, case.body))
    assert reply.state is not None
    state = KeptState("openai", MODEL, loads(dumps(reply.state)))
    spoken = AssistantMessage(reply.content, reply.tool_calls, state)
    results = answered(*(call.id for call in reply.tool_calls))
    found = body(Prompt((QUESTION, spoken, results), tools=(ENTRY,)))["input"]
    types = ["reasoning", "message", "function_call", "function_call", "function_call_output", "function_call_output"]
    assert [item["type"] for item in found[1:]] == types
    assert found[1]["encrypted_content"] == "gAAAAABhandmade=="
    assert found[2]["phase"] == "commentary"


def test_reasoning_without_calls_is_not_kept() -> None:
    assert fx.fold(PROVIDER.decode_reply(fx.case(NAME, "handmade-json-text-arabic").body)).state is None


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("400-encrypted-content", REASONING_ITEMS),
        ("400-summary-unverified", "reasoning"),
        ("400-temperature", "temperature"),
        ("401-invalid-key", None),
    ],
)
def test_what_a_refusal_is_about(name: str, refused: str | None) -> None:
    case = fx.case(NAME, f"handmade-error-{name}")
    assert PROVIDER.decode_error(case.status, case.headers, case.body).refused_parameter == refused


@pytest.mark.parametrize(
    "text",
    [
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
        "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
    ],
)
def test_a_replay_that_is_refused_in_other_words(text: str) -> None:
    for status in (400, 404):
        error = PROVIDER.decode_error(status, {}, dumps({"error": {"message": text, "type": "invalid_request_error"}}))
        assert (error.refused_parameter, error.kind, error.upstream_status) == (REASONING_ITEMS, "rejected", status)
