"""A turn in OpenAI's format: chunks that can be read on from any id, whole replies, errors."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.errors import KINDS, GatewayError
from gateway.core.fold import Fold
from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnBegun, TurnEnded
from gateway.web import schemas_openai as schemas
from gateway.wire import openai_chunks as oc
from gateway.wire.frames import parse_event_id, tape_frames
from tests.core.tape_events import SEQUENCES, folded
from tests.web.shapes import check

TURN = new_turn_id()
BEGUN = TurnBegun(TURN, "conv-1", None, "openai", "gpt", "سؤال", None, (), 1_795_400_000_999, "hash", "req-1")
SOURCES: list[ev.Event] = [
    ev.TextDelta("الكتاب "),
    ev.SourceFound("web", "لسان العرب", "https://example.org/1"),
    ev.SourceFound("char_location", "وثيقة"),
    ev.ReasoningDelta("أتأمّل"),
    ev.TextDelta("ما يُكتب"),
    ev.SourceFound("web", None, "https://example.org/2"),
]
CALLS: list[ev.Event] = [ev.ToolCalled("call_1", "بحث", {"كلمة": "كتاب"}), ev.ToolCalled("call_2", "بحث", "ليس JSON")]

Frames = list[tuple[str | None, str]]


def parsed(data: bytes) -> Frames:
    """Each event's id and data."""
    found: Frames = []
    for frame in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        assert fields.keys() <= {"id", "data"}
        found.append((fields.get("id"), fields["data"]))
    return found


def read(fold: Fold, position: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
    """The deltas behind `position`, asked for piece by piece, each with the position in its id."""
    chunks = oc.Chunks(BEGUN, fold.tape, usage=False)
    data = b""
    while position < fold.tape.end:
        frames, position = tape_frames(TURN, fold.tape, position, limit, chunks.text, chunks.item)
        data += frames
    found = []
    for identity, text in parsed(data):
        check(schemas.ChatCompletionChunk, json.loads(text))
        event_id = parse_event_id(identity or "")
        assert event_id is not None
        assert event_id.turn_id == TURN
        assert event_id.position is not None
        found.append((event_id.position, json.loads(text)["choices"][0]["delta"]))
    return found


def joined(deltas: list[tuple[int, dict[str, Any]]]) -> tuple[str, str, list[Any]]:
    """What deltas amount to, cut how they may be."""
    text = "".join(delta.get("content", "") for _, delta in deltas)
    thoughts = "".join(delta.get("reasoning_content", "") for _, delta in deltas)
    return text, thoughts, [call for _, delta in deltas for call in delta.get("tool_calls", ())]


def ended(fold: Fold, **more: Any) -> TurnEnded:
    return replace(TurnEnded("completed", "anthropic", "claude", fold.reply(), 1_795_400_002_000), **more)


@given(SEQUENCES, st.sampled_from([1, 2, 7, 100]), st.data())
def test_chunks_from_any_id_on_are_the_rest_exactly_once(events: list[ev.Event], limit: int, data: st.DataObject) -> None:
    fold = folded(events)
    reply = fold.reply()
    whole = read(fold, 0, limit)
    text, thoughts, calls = joined(whole)
    assert text == reply.content
    assert thoughts == "".join(thought.content for thought in reply.thoughts)
    assert [call["id"] for call in calls] == [call.id for call in reply.tool_calls]
    assert [call["index"] for call in calls] == list(range(len(calls)))
    if whole:
        seen = data.draw(st.integers(0, len(whole) - 1))
        behind = read(fold, whole[seen][0], data.draw(st.sampled_from([1, 3, 100])))
        assert joined(behind) == joined(whole[seen + 1 :])


def test_sources_say_where_they_were_named() -> None:
    fold = folded(SOURCES)
    notes = [note for _, delta in read(fold, 0, 100) for note in delta.get("annotations", ())]
    assert [note["index"] for note in notes] == [0, 1]
    assert [note["url_citation"] for note in notes] == [
        {"url": "https://example.org/1", "title": "لسان العرب", "start_index": 7, "end_index": 7},
        {"url": "https://example.org/2", "title": "https://example.org/2", "start_index": 15, "end_index": 15},
    ]
    body = json.loads(oc.completion_body(BEGUN, ended(folded([*SOURCES, ev.Finished("stop")])), fold.tape))
    check(schemas.ChatCompletion, body)
    message = body["choices"][0]["message"]
    assert [note["url_citation"] for note in message["annotations"]] == [note["url_citation"] for note in notes]
    assert (message["content"], message["reasoning_content"]) == ("الكتاب ما يُكتب", "أتأمّل")


def test_a_reply_of_calls() -> None:
    fold = folded([*CALLS, ev.UsageReported(5, 7, cached_tokens=3, reasoning_tokens=0), ev.Finished("tool_calls")])
    body = json.loads(oc.completion_body(BEGUN, ended(fold, cost_usd=0.5), fold.tape))
    check(schemas.ChatCompletion, body)
    [choice] = body["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    functions = [call["function"] for call in choice["message"]["tool_calls"]]
    assert functions == [{"name": "بحث", "arguments": '{"كلمة":"كتاب"}'}, {"name": "بحث", "arguments": "ليس JSON"}]
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": 0.5,
    }
    assert (body["model"], body["created"], body["id"]) == ("anthropic/claude", 1_795_400_000, f"chatcmpl-{TURN}")


@pytest.mark.parametrize("usage", [False, True])
def test_the_end_of_a_stream(usage: bool) -> None:
    fold = folded([ev.TextDelta("نعم"), ev.UsageReported(5, 7), ev.Finished("content_filter")])
    frames = parsed(b"".join(oc.Chunks(BEGUN, fold.tape, usage=usage).end(ended(fold))))
    assert [identity for identity, _ in frames] == [None] * (len(frames) - 1) + [f"{TURN}.end"]
    assert frames[-1][1] == "[DONE]"
    chunks = [json.loads(data) for _, data in frames[:-1]]
    for chunk in chunks:
        check(schemas.ChatCompletionChunk, chunk)
    assert chunks[0]["choices"][0]["finish_reason"] == "content_filter"
    assert [chunk["choices"] for chunk in chunks[1:]] == [[]] * usage
    assert [chunk["usage"]["total_tokens"] for chunk in chunks[1:]] == [12] * usage
    assert ("usage" in chunks[0]) is usage


def test_counts_that_nobody_told_are_not_made_up() -> None:
    fold = folded([ev.TextDelta("نعم"), ev.UsageReported(output_tokens=7), ev.Finished("stop")])
    assert json.loads(oc.completion_body(BEGUN, ended(fold), fold.tape))["usage"] is None
    assert b'"total_tokens"' not in b"".join(oc.Chunks(BEGUN, fold.tape, usage=True).end(ended(fold)))


def test_a_stopped_reply_is_one_that_was_cut() -> None:
    fold = folded([ev.TextDelta("نع")])
    body = json.loads(oc.completion_body(BEGUN, ended(fold, status="stopped"), fold.tape))
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_simulated_reply_says_so() -> None:
    fold = folded([ev.TextDelta("نعم"), ev.Finished("stop")])
    begun = replace(BEGUN, simulated=True)
    [(_, start)] = parsed(oc.Chunks(begun, fold.tape, usage=True).start())
    check(schemas.ChatCompletionChunk, json.loads(start))
    body = json.loads(oc.completion_body(begun, ended(fold), fold.tape))
    for found in (json.loads(start), body):
        assert (found["simulated"], found["conversation_id"]) == (True, "conv-1")


@pytest.mark.parametrize("code", KINDS)
def test_errors(code: Any) -> None:
    """429 is a limit of the caller's own, and no error turns into a good answer."""
    error = GatewayError(code, "لا.", fields=(("messages.0", "wrong"),))
    body = oc.error_body(error)
    check(schemas.OpenAIError, body)
    assert (body["error"]["message"], body["error"]["param"]) == ("لا.", "messages.0")
    status = oc.error_status(code, error.status)
    assert (status == 429) is (code in ("rate_limited", "daily_limit_reached"))
    assert 400 <= status < 600
    [(identity, data)] = parsed(b"".join(oc.Chunks(BEGUN, folded([]).tape, usage=True).failed(error)))
    assert (identity, json.loads(data)) == (f"{TURN}.end", body)


def test_ids_of_completions() -> None:
    assert oc.parse_completion_id(oc.completion_id(TURN)) == TURN
    for text in (TURN, "chatcmpl-", "chatcmpl-1", f"chatcmpl-{TURN}x", ""):
        assert oc.parse_completion_id(text) is None
