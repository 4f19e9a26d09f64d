"""Turns read back from the log, and turns kept for a while: the same events under the same ids."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import Event, Rerouted, TextDelta
from gateway.core.turn import TurnEnded, TurnError, TurnRecord, TurnStatus
from gateway.engine.kept import KEPT_BYTES, KeptTurns
from gateway.engine.live import LiveTurn
from gateway.engine.replay import not_logged, outcome_of, replay
from gateway.store.base import StoredTurn
from tests.core.tape_events import SEQUENCES, expected_units, folded
from tests.engine.turns import begun, body_of, completed, feed, live, read_all, soon
from tests.wire.client import received
from tests.wire.test_frames import units

ERROR = TurnError("provider_overloaded", "مشغول", True, 3, 529, "upstream words")


def stored(events: list[Event], status: TurnStatus = "completed", error: TurnError | None = None) -> StoredTurn:
    ended = TurnEnded(status, "openai", "m", folded(events).reply(), 1_700_000_000_001, error=error)
    return StoredTurn(TurnRecord(begun(), ended), 7)


@given(SEQUENCES, st.none() | st.integers(0, 60))
async def test_a_stored_turn_reads_as_it_did_while_it_ran(events: list[Event], position: int | None) -> None:
    turn = replay(stored(events))
    got = await soon(read_all(turn, position))
    if position is None:
        assert got.pop(0).name == "start"
    assert got[-1].name == "done"
    rest = [unit for unit in expected_units(events)[position or 0 :] if not isinstance(unit, Rerouted)]
    assert units(got[:-1]) == rest
    assert turn.readers == 0


async def test_a_stored_turn_has_the_body_it_had() -> None:
    outcome = await soon(replay(stored([TextDelta("مرحبا")])).ended())
    body = body_of(outcome)
    assert (body["content"], body["message_id"], body["logged"]) == ("مرحبا", "7", "stored")


@pytest.mark.parametrize(
    ("status", "error"), [("failed", ERROR), ("interrupted", ERROR), ("failed", None), ("interrupted", None)]
)
async def test_a_turn_that_ended_badly_says_so_again(status: TurnStatus, error: TurnError | None) -> None:
    turn = replay(stored([TextDelta("مرح")], status, error))
    start, token, failed = await soon(read_all(turn))
    assert (start.name, token.data, failed.name) == ("start", {"text": "مرح"}, "failed")
    assert failed.data["code"] == (error.code if error else "internal_error")
    assert failed.data["turn_id"] == turn.begun.turn_id
    assert failed.data["retryable"] is True
    assert "upstream words" not in json.dumps(failed.data)
    outcome = turn.outcome
    assert outcome is not None
    assert outcome.body is None
    assert outcome.error is not None
    assert outcome.error.turn_id == turn.begun.turn_id


def test_a_stopped_turn_is_done_and_one_without_a_log_has_failed() -> None:
    accepted = begun()
    ended = TurnEnded("stopped", "openai", "m", folded([TextDelta("م")]).reply(), 2, abandoned=True)
    (done,) = received(b"".join(outcome_of(accepted, ended, None, "conv-2").frames(accepted.turn_id)))
    assert (done.name, done.data["status"], done.data["finish_reason"]) == ("done", "stopped", None)
    assert (done.data["logged"], done.data["conversation_id"]) == ("spooled", "conv-2")
    outcome = not_logged(accepted, ERROR)
    assert outcome.ended is None
    assert [event.name for event in received(b"".join(outcome.frames(accepted.turn_id)))] == ["failed"]


def ended_turn(conversation: str, text: str) -> LiveTurn:
    turn = live()
    turn.begun = begun(conversation)
    feed(turn, TextDelta(text))
    turn.end(completed(turn))
    return turn


async def test_kept_turns_go_by_age() -> None:
    kept = KeptTurns(seconds=0)
    turn = ended_turn("conv-1", "م")
    kept.add(turn)
    assert kept.get(turn.begun.turn_id) is None
    patient = KeptTurns(seconds=3600)
    patient.add(turn)
    assert patient.get(turn.begun.turn_id) is turn
    assert patient.get("other") is None


async def test_kept_turns_go_by_size_oldest_first() -> None:
    kept = KeptTurns(max_bytes=200_000)
    turns = [ended_turn("conv-1", "x" * 10_000) for _ in range(20)]
    for turn in turns:
        kept.add(turn)
    found = [turn for turn in turns if kept.get(turn.begun.turn_id) is turn]
    assert 1 <= len(found) <= 5
    assert found == turns[-len(found) :]
    kept.add(ended_turn("conv-1", "x" * KEPT_BYTES))
    assert all(kept.get(turn.begun.turn_id) is None for turn in turns)


async def test_a_deleted_conversations_turns_are_let_go() -> None:
    kept = KeptTurns(max_bytes=100_000)
    gone, stays = ended_turn("conv-1", "x" * 5_000), ended_turn("conv-2", "x" * 5_000)
    kept.add(gone)
    kept.add(stays)
    kept.forget(lambda begun: begun.conversation_id == "conv-1")
    assert kept.get(gone.begun.turn_id) is None
    kept.add(ended_turn("conv-3", "x" * 5_000))
    assert kept.get(stays.begun.turn_id) is stays
