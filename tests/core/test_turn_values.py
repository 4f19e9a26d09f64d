"""Ids, error codes and what a turn's end means for its key."""

import time
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import KINDS, ErrorCode, GatewayError, UpstreamError
from gateway.core.fold import Fold
from gateway.core.ids import new_call_id, new_conversation_id, new_turn_id, turn_time
from gateway.core.turn import TurnBegun, TurnEnded, TurnError, TurnRecord, TurnStatus

BEGUN = TurnBegun("t", "c", None, "openai", "m", "سؤال", None, (), 1, "hash", "r")
ENDED = TurnEnded("completed", "openai", "m", Fold(lambda: 0.0).reply(), 2)


def test_turn_ids_are_uuid7_and_tell_their_time() -> None:
    before = time.time()
    made = [new_turn_id() for _ in range(1000)]
    assert len(set(made)) == len(made)
    for turn_id in made:
        parsed = uuid.UUID(turn_id)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, turn_id)
        made_at = turn_time(turn_id)
        assert made_at is not None
        assert before - 0.001 <= made_at <= time.time()
    stamps = [turn_id[:13] for turn_id in made]
    assert stamps == sorted(stamps)


@given(st.text(max_size=40) | st.uuids().map(str) | st.uuids(version=4).map(lambda value: f"{{{value}}}"))
def test_nothing_else_is_a_turn_id(text: str) -> None:
    canonical = text == text.lower() and len(text) == 36 and text[14:15] == "7" and text[19:20] in "89ab"
    assert turn_time(text) is None or canonical


def test_a_turn_id_in_another_spelling_is_none() -> None:
    turn_id = new_turn_id()
    for spelled in (turn_id.upper() + " ", "{" + turn_id + "}", turn_id.replace("-", ""), f"urn:uuid:{turn_id}"):
        assert turn_time(spelled) is None


def test_conversation_and_call_ids() -> None:
    assert uuid.UUID(new_conversation_id()).version == 4
    assert new_call_id() != new_call_id()
    assert new_call_id().replace("_", "").isalnum()
    assert len(new_call_id()) <= 40


@pytest.mark.parametrize("code", KINDS)
def test_errors_take_status_and_retryability_from_their_code(code: ErrorCode) -> None:
    error = GatewayError(code, "لا")
    assert (error.status, error.retryable) == (KINDS[code].status, KINDS[code].retryable)
    assert GatewayError(code, "لا", retryable=not error.retryable).retryable is not error.retryable
    assert UpstreamError(code, "لا", kind="broken", upstream_status=500).status == KINDS[code].status


def error(*, retryable: bool) -> TurnError:
    return TurnError("provider_error", "x", retryable)


@pytest.mark.parametrize(
    ("status", "failure", "abandoned", "binds"),
    [
        ("completed", None, False, True),
        ("stopped", None, False, True),
        ("stopped", None, True, False),
        ("interrupted", error(retryable=True), False, False),
        ("interrupted", None, False, False),
        ("failed", error(retryable=True), False, False),
        ("failed", error(retryable=False), False, True),
    ],
)
def test_which_ends_bind_an_idempotency_key(status: TurnStatus, failure: TurnError | None, abandoned: bool, binds: bool) -> None:
    ended = replace(ENDED, status=status, error=failure, abandoned=abandoned)
    assert TurnRecord(BEGUN, ended).binds_key is binds
