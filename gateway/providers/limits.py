"""What the head of a good reply says of a key's limits: whether one is used up, and when it is reset.

OpenAI and Groq tell durations (`x-ratelimit-remaining-requests: 0`, `x-ratelimit-reset-requests: 1m2.5s`), Anthropic RFC 3339
moments (`anthropic-ratelimit-tokens-remaining: 0`, `anthropic-ratelimit-tokens-reset: 2026-11-23T10:00:30Z`).
Sources: the vendors' pages on rate limits. Header names may be in any case if the mapping looks them up so.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway.providers.common import MAX_WAIT_S, duration

_CHAT = tuple((f"x-ratelimit-remaining{what}", f"x-ratelimit-reset{what}") for what in ("-requests", "-tokens", ""))
_ANTHROPIC = tuple(
    (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
)


def chat_limits(headers: Mapping[str, str]) -> float | None:
    """Seconds until the used-up limits of an OpenAI-like provider are reset; None when none is, or nothing tells when."""
    spent = [reset for left, reset in _CHAT if headers.get(left) == "0"]
    if not spent:
        return None
    waits = [wait for reset in spent if (wait := _seconds(headers.get(reset, ""))) is not None]
    return max(waits, default=None)


def anthropic_limits(headers: Mapping[str, str]) -> float | None:
    """Seconds until Anthropic's used-up limits are reset; None when none is, or nothing tells when."""
    spent = [reset for left, reset in _ANTHROPIC if headers.get(left) == "0"]
    if not spent:
        return None
    now = _now(headers.get("date"))
    waits = [moment - now for reset in spent if (moment := _moment(headers.get(reset, ""))) is not None]
    return min(max(0.0, *waits), MAX_WAIT_S) if waits else None


def _seconds(text: str) -> float | None:
    return duration(text if text[-1:].isalpha() else f"{text.strip()}s")


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _now(date: str | None) -> float:
    """The provider's own clock where it tells it, so that ours need not agree."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else time.time()
    except (ValueError, OverflowError):
        return time.time()
