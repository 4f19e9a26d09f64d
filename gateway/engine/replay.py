"""A stored turn as a live one that has ended, so that the same readers serve both."""

from gateway.core.fold import Fold
from gateway.core.tape import restore
from gateway.core.turn import TurnBegun, TurnEnded, TurnError
from gateway.engine.live import LiveTurn, Outcome
from gateway.store.base import StoredTurn
from gateway.wire.frames import failed_body, failed_frame, reply_body, turn_error

_UNKNOWN = TurnError("internal_error", "The reply failed.", retryable=True)


def outcome_of(begun: TurnBegun, ended: TurnEnded, message_id: int | None, conversation_id: str) -> Outcome:
    """Render how a turn ended."""
    if ended.status in ("failed", "interrupted"):
        return _failure(begun, ended, ended.error or _UNKNOWN)
    return Outcome(ended, reply_body(begun, ended, message_id, conversation_id))


def not_logged(begun: TurnBegun, error: TurnError) -> Outcome:
    """The end of a turn that the log does not have."""
    return _failure(begun, None, error)


def _failure(begun: TurnBegun, ended: TurnEnded | None, error: TurnError) -> Outcome:
    frame = failed_frame(begun.turn_id, failed_body(begun, error))
    return Outcome(ended, None, frame, turn_error(error, begun.turn_id))


def replay(stored: StoredTurn) -> LiveTurn:
    """Put a stored turn back on a tape; event ids given while it ran stay valid."""
    begun, ended = stored.record.begun, stored.record.ended
    reply = ended.reply
    fold = Fold(lambda: 0.0)
    fold.tape = restore(
        reply.layout,
        reply.content,
        "".join(thought.content for thought in reply.thoughts),
        reply.tool_calls,
        reply.sources,
    )
    turn = LiveTurn(begun, fold, lambda _: None)
    turn.end(outcome_of(begun, ended, stored.message_id, begun.conversation_id))
    return turn
