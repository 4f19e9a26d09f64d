"""A turn's values as it begins and as it fails."""

import time

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Failed
from gateway.core.fold import Fold
from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnBegun, TurnError, TurnStatus
from gateway.core.value import value
from gateway.engine.attempts import Source
from gateway.engine.prompt import Prepared
from gateway.engine.routing import Choice

NOT_KEPT = TurnError("overloaded", "The server cannot keep more turns now; try again later.", True, 30)
NOT_LOGGED = TurnError("log_unavailable", "The reply could not be stored; please try again.", True, 5)
INTERRUPTED = TurnError("interrupted", "The server restarted before the reply was whole; please try again.", True, 1)


def shutting_down() -> GatewayError:
    """What a question is told whose turn cannot begin here any more."""
    return GatewayError("shutting_down", "The server is restarting; try again in a moment.", retry_after=5)


@value
class NewTurn:
    """An authorised, prepared request. `source`: where its reply is to come from, if not from the providers; `attended`:
    whoever starts the turn reads it before anything else can happen, so that nobody need look whether somebody does."""

    conversation_id: str
    caller: str | None
    choice: Choice
    prepared: Prepared
    request_hash: str
    request_id: str
    idempotency_key: str | None
    streamed: bool
    simulated: bool
    turn_id: str | None = None
    charged_on: str | None = None
    uncounted: bool = False
    source: Source | None = None
    attended: bool = False


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def begun_of(new: NewTurn) -> TurnBegun:
    """The turn as it is accepted now."""
    return TurnBegun(
        turn_id=new.turn_id or new_turn_id(),
        conversation_id=new.conversation_id,
        caller=new.caller,
        provider=new.choice.target.name,
        model=new.choice.model,
        question=new.prepared.question,
        question_parts=new.prepared.question_parts,
        tool_results=new.prepared.tool_results,
        started_ms=now_ms(),
        request_hash=new.request_hash,
        request_id=new.request_id,
        idempotency_key=new.idempotency_key,
        streamed=new.streamed,
        simulated=new.simulated,
        charged_on=new.charged_on,
        uncounted=new.uncounted,
    )


def error_of(status: TurnStatus, fold: Fold) -> TurnError | None:
    """Why a turn ended so; None for one that ended well."""
    if status == "interrupted":
        return INTERRUPTED
    if status != "failed" or not isinstance(fold.terminal, Failed):
        return None
    error = fold.terminal.error
    upstream_status, upstream = (error.upstream_status, error.upstream_text) if isinstance(error, UpstreamError) else (None, "")
    return TurnError(error.code, error.detail, error.retryable, error.retry_after, upstream_status, upstream)
