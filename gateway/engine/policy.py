"""What may be tried again, how often, and how long a turn waits for it."""

from dataclasses import dataclass, field
from typing import Final

from gateway.core.errors import UpstreamError
from gateway.engine.backoff import Backoff

MAX_REFUSALS: Final = 4
MAX_CONTINUATIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of one turn's upstream calls.

    `max_retries`: further calls of the same provider after failures before the first output. Calls with another key because
    one was at its limit or refused (at most one a key) and calls without a refused parameter (at most `MAX_REFUSALS`) are not
    counted. `max_wait_s`: the longest wait that a provider may ask for (Retry-After, a key's reset); `short_wait_s`: the same
    while another provider could be asked instead. No wait reaches beyond `turn_timeout_s`, counted from the first call.
    `continue_on_break`: whether another provider goes on where a stream broke off, at most `MAX_CONTINUATIONS` times a turn.
    """

    max_retries: int = 2
    turn_timeout_s: float = 600.0
    max_wait_s: float = 20.0
    short_wait_s: float = 2.0
    backoff: Backoff = field(default_factory=Backoff)
    continue_on_break: bool = False


def worth_repeating(error: UpstreamError) -> bool:
    """Whether the same call may succeed in a moment: the provider's failure, unless it says or its status shows otherwise."""
    if error.kind in ("rejected", "key_refused", "quota") or not error.retryable:
        return False
    # A redirection or an odd 4xx will be the same again.
    return not (error.kind == "broken" and 300 <= (error.upstream_status or 0) < 500)


def fell_silent(error: UpstreamError) -> bool:
    """Whether the gateway stopped waiting; a provider's own 408 or 504 has a status."""
    return error.kind == "timeout" and error.upstream_status is None
