"""What clients get: frames that can be read on from any id, reply bodies, problem objects."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import KINDS, GatewayError
from gateway.core.events import Event, Rerouted, SourceFound
from gateway.core.fold import Fold
from gateway.core.ids import new_turn_id
from gateway.core.messages import ToolCall
from gateway.core.tape import Tape, restore
from gateway.core.turn import TurnBegun, TurnEnded, TurnError
from gateway.wire import frames as fr
from tests.core.tape_events import SEQUENCES, Unit, expected_units, folded
from tests.wire.client import Received, received

TURN = new_turn_id()
BEGUN = TurnBegun(TURN, "conv-1", None, "openai", "gpt", "سؤال", None, (), 1, "hash", "req-1")
LIMITS = st.sampled_from([1, 2, 3, 7, 100])


def units(events: list[Received]) -> list[Unit]:
    """Frames of a tape as units of the tape, ids of calls left out."""
    found: list[Unit] = []
    for event in events:
        match event.name:
            case "token":
                found.extend(("text", char) for char in event.data["text"])
            case "thought":
                found.extend(("thought", char) for char in event.data["text"])
            case "tool_call":
                found.append(ToolCall(**event.data | {"id": ""}))
            case "source":
                found.append(SourceFound(**event.data))
            case "status":
                found.append(Rerouted(**event.data))
            case other:
                raise AssertionError(other)
    return found


def read(tape: Tape, position: int, limit: int) -> list[Received]:
    """All frames behind `position`, asked for piece by piece."""
    data = b""
    while position < tape.end:
        frames, reached = fr.tape_frames(TURN, tape, position, limit)
        assert reached > position
        data, position = data + frames, reached
    assert fr.tape_frames(TURN, tape, position, limit) == (b"", position)
    return received(data)


@given(SEQUENCES, LIMITS, st.data())
def test_frames_from_any_event_on_are_the_rest_exactly_once(events: list[Event], limit: int, data: st.DataObject) -> None:
    tape = folded(events).tape
    expected = expected_units(events)
    whole = read(tape, 0, limit)
    assert units(whole) == expected
    places = [0]
    for event in whole:
        found = fr.parse_event_id(event.id)
        assert found is not None
        assert found.turn_id == TURN
        assert found.position is not None
        places.append(found.position)
    assert places == sorted(set(places))
    last = data.draw(st.integers(0, len(whole)))
    assert units(read(tape, places[last], data.draw(LIMITS))) == units(whole[last:])


@given(SEQUENCES, st.data())
def test_ids_given_while_it_ran_hold_for_the_stored_turn(events: list[Event], data: st.DataObject) -> None:
    fold = folded(events)
    reply = fold.reply()
    stored = restore(reply.layout, reply.content, "".join(t.content for t in reply.thoughts), reply.tool_calls, reply.sources)
    position = data.draw(st.integers(0, fold.tape.end))
    rest = [unit for unit in expected_units(events)[position:] if not isinstance(unit, Rerouted)]
    assert units(read(stored, position, data.draw(LIMITS))) == rest


@given(SEQUENCES, st.lists(st.tuples(st.integers(0, 6), LIMITS), min_size=1, max_size=8))
def test_readers_at_any_pace_get_the_same_while_the_tape_grows(events: list[Event], paces: list[tuple[int, int]]) -> None:
    fold = Fold(lambda: 0.0)
    places = [0] * len(paces)
    got = [b""] * len(paces)
    for number, event in enumerate(events):
        fold.add(event)
        for reader, (pause, limit) in enumerate(paces):
            if number % (pause + 1) == 0:
                frames, places[reader] = fr.tape_frames(TURN, fold.tape, places[reader], limit)
                got[reader] += frames
    for reader, data in enumerate(got):
        assert units(received(data) + read(fold.tape, places[reader], 100)) == expected_units(events)


def test_a_reader_far_behind_is_served_in_bounded_pieces() -> None:
    fold = folded([])
    fold.tape.write("thought", "ف" * 100_000, 0)
    for number in range(20):
        fold.tape.mark(ToolCall(f"call_{number}", "save", {"text": "x" * 1000}))
    fold.tape.write("text", "😀" * 300_000, 0)
    position = 0
    while position < fold.tape.end:
        data, position = fr.tape_frames(TURN, fold.tape, position, 10_000)
        texts = [event.data.get("text", "") for event in received(data)]
        assert 0 < sum(map(len, texts)) + data.count(b"tool_call") * 1000 < 22_000
        assert max(map(len, texts)) <= fr.MAX_STRETCH


def test_a_position_beyond_the_end_gets_nothing() -> None:
    assert fr.tape_frames(TURN, folded([]).tape, 7, 100) == (b"", 7)


@pytest.mark.parametrize(
    ("rest", "place"),
    [(".0", 0), (".12", 12), (".end", None), (f".{'9' * 12}", 999_999_999_999)],
)
def test_ids_parse(rest: str, place: int | None) -> None:
    assert fr.parse_event_id(f"{TURN}{rest}") == fr.EventId(TURN, place)


@given(st.text(max_size=60) | st.text("0123456789.-+end٣²", max_size=8).map(lambda place: f"{TURN}.{place}"))
def test_other_ids_are_none_or_plain_positions(text: str) -> None:
    found = fr.parse_event_id(text)
    place = text.removeprefix(f"{TURN}.")
    assert (found is not None) == (
        text != place and (place == "end" or (place.isascii() and place.isdigit() and len(place) <= 12))
    )


def test_the_first_and_the_last_events_tell_clients_when_to_come_back() -> None:
    start, done, failed = received(
        fr.start_frame(BEGUN) + fr.done_frame(TURN, b'{"a":1}') + fr.failed_frame(TURN, {"code": "x"}) + fr.PING
    )
    assert (start.name, start.id, start.retry) == ("start", f"{TURN}.0", 1000)
    assert start.data == {"turn_id": TURN, "conversation_id": "conv-1", "provider": "openai", "model": "gpt"}
    assert (done.name, done.id, done.retry, done.data) == ("done", f"{TURN}.end", 0, {"a": 1})
    assert (failed.name, failed.id, failed.retry, failed.data) == ("failed", f"{TURN}.end", 0, {"code": "x"})


@given(SEQUENCES)
def test_the_body_holds_what_the_events_held(events: list[Event]) -> None:
    fold = folded(events)
    ended = TurnEnded("stopped", "groq", "llama", fold.reply(), 2, cost_usd=0.5)
    body = json.loads(fr.reply_body(BEGUN, ended, 7, "conv-2"))
    frames = read(fold.tape, 0, 100)
    assert body["content"] == "".join(event.data["text"] for event in frames if event.name == "token")
    assert body["tool_calls"] == [event.data for event in frames if event.name == "tool_call"]
    assert body["sources"] == [event.data for event in frames if event.name == "source"]
    reasoning = "".join(event.data["text"] for event in frames if event.name == "thought")
    assert "".join(thought["content"] for thought in body["thoughts"]) == reasoning
    assert (body["message_id"], body["logged"], body["conversation_id"]) == ("7", "stored", "conv-2")
    assert (body["status"], body["finish_reason"], body["provider"], body["model"]) == ("stopped", None, "groq", "llama")
    assert body["usage"]["cost_usd"] == 0.5
    assert body["usage"]["output_tokens"] is None
    assert "simulated" not in body


def test_a_spooled_or_simulated_reply_says_so() -> None:
    ended = TurnEnded("completed", "openai", "gpt", folded([]).reply(), 2)
    body = json.loads(fr.reply_body(replace(BEGUN, simulated=True), ended, None, "conv-1"))
    assert (body["message_id"], body["logged"], body["simulated"]) == (None, "spooled", True)


@pytest.mark.parametrize("code", KINDS)
def test_problems_are_the_same_shape_for_every_code(code: str) -> None:
    error = GatewayError(code, "لا", retry_after=0.2, fields=(("a.b", "m"),), turn_id=TURN)  # type: ignore[arg-type]
    body = fr.problem_body(error, "req-1")
    assert body.items() >= {"status": error.status, "detail": "لا", "code": code, "request_id": "req-1", "turn_id": TURN}.items()
    assert body["retry_after"] == 1
    assert body["errors"] == [{"loc": "a.b", "msg": "m"}]
    assert body["title"]
    assert body["type"]
    assert not {"retry_after", "errors", "turn_id"} & fr.problem_body(GatewayError("not_found", "لا"), "req-1").keys()


def test_a_failed_turn_tells_what_was_kept_but_not_what_the_provider_said() -> None:
    error = TurnError("provider_overloaded", "مشغول", True, 7.4, 529, "secret upstream words")
    body = fr.failed_body(BEGUN, error)
    assert (body["turn_id"], body["retryable"], body["retry_after"], body["status"]) == (TURN, True, 7, 503)
    assert "secret" not in json.dumps(body)
    raised = fr.turn_error(error, TURN)
    assert (raised.code, raised.status, raised.retryable, raised.turn_id) == ("provider_overloaded", 503, True, TURN)
