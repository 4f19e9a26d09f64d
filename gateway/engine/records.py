"""A turn's values as it begins and as it fails."""

import time

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Failed
from gateway.core.fold import Fold
from gateway.core.turn import TurnError, TurnStatus

NOT_KEPT = TurnError("overloaded", "The server cannot keep more turns now; try again later.", True, 30)
NOT_LOGGED = TurnError("log_unavailable", "The reply could not be stored; please try again.", True, 5)
INTERRUPTED = TurnError("interrupted", "The server restarted before the reply was whole; please try again.", True, 1)


def shutting_down() -> GatewayError:
    """What a question is told whose turn cannot begin here any more."""
    return GatewayError("shutting_down", "The server is restarting; try again in a moment.", retry_after=5)


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def error_of(status: TurnStatus, fold: Fold) -> TurnError | None:
    """Why a turn ended so; None for one that ended well."""
    if status == "interrupted":
        return INTERRUPTED
    if status != "failed" or not isinstance(fold.terminal, Failed):
        return None
    error = fold.terminal.error
    upstream_status, upstream = (error.upstream_status, error.upstream_text) if isinstance(error, UpstreamError) else (None, "")
    return TurnError(error.code, error.detail, error.retryable, error.retry_after, upstream_status, upstream)
