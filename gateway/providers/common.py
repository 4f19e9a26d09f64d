"""What every wire format needs: one status table for failures, waits from headers, lenient reading of JSON."""

import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from gateway.core.errors import ErrorCode, UpstreamError, UpstreamKind
from gateway.core.events import Failed
from gateway.core.messages import Message, ToolResults, UserMessage

MAX_UPSTREAM_TEXT = 2048
MAX_WAIT_S = 86_400.0
MAX_COUNT = 2**31 - 1


def as_str(value: Any) -> str | None:
    """Return `value` if it is a string."""
    return value if isinstance(value, str) else None


def as_int(value: Any) -> int | None:
    """Return `value` if it is a count: a whole number from 0 to 2^31-1."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def as_dict(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


_PORTABLE_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def portable_id(call_id: str) -> str:
    """Return a tool call id that every provider takes; the same id always gives the same.

    Anthropic takes `^[a-zA-Z0-9_-]+$` only, OpenAI has refused more than 40 characters, other upstreams mint ids like
    `functions.x:0`, and a conversation may move from one provider to another.
    """
    if _PORTABLE_ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def open_loop(messages: Sequence[Message]) -> int:
    """Return the position of the question that the tool calls at the end still belong to, -1 if there is none.

    Reasoning is given back to the model that wrote it behind that question alone: what it led to is settled before.
    """
    for position in range(len(messages) - 1, -1, -1):
        if isinstance(messages[position], UserMessage) and not (position and isinstance(messages[position - 1], ToolResults)):
            return position
    return -1


_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


def short_id(call_id: str) -> str:
    """Return a tool call id of nine letters and digits, as Mistral's models demand; the same id always gives the same."""
    return call_id if _SHORT_ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]


@dataclass(frozen=True, slots=True)
class _Failure:
    code: ErrorCode
    kind: UpstreamKind
    detail: str
    retryable: bool | None = None


_REJECTED = _Failure("provider_rejected", "rejected", "The provider refused this request.")
_TOO_LONG = _Failure("provider_rejected", "rejected", "The conversation is too long for this model.")
_BAD_IMAGE = _Failure("provider_rejected", "rejected", "The provider cannot use an image of this conversation.")
_UNKNOWN_MODEL = _Failure("provider_error", "rejected", "The provider does not offer this model.", retryable=False)
_KEY_REFUSED = _Failure("provider_error", "key_refused", "The provider refused the gateway's own access.", retryable=False)
_QUOTA = _Failure("provider_overloaded", "quota", "The gateway's quota at the provider is used up.", retryable=False)
_RATE_LIMITED = _Failure("provider_overloaded", "rate_limited", "The provider is busy; please try again shortly.")
_OVERLOADED = _Failure("provider_overloaded", "overloaded", "The provider is overloaded; please try again shortly.")
_TIMEOUT = _Failure("provider_timeout", "timeout", "The provider took too long to answer.")
_SERVER = _Failure("provider_error", "server", "The provider had an internal error.")
_BROKEN = _Failure("provider_error", "broken", "The provider sent a reply that cannot be understood.")

_BY_STATUS: dict[int, _Failure] = {
    400: _REJECTED,
    401: _KEY_REFUSED,
    402: _QUOTA,
    403: _KEY_REFUSED,
    # Whether the model or the path is unknown, it is the gateway's setup and not the caller's request.
    404: _UNKNOWN_MODEL,
    408: _TIMEOUT,
    409: _SERVER,
    413: _TOO_LONG,
    422: _REJECTED,
    429: _RATE_LIMITED,
    498: _OVERLOADED,
    503: _OVERLOADED,
    504: _TIMEOUT,
    529: _OVERLOADED,
}

_TOO_LONG_WORDS = re.compile(
    r"context[ _](?:length|limit|window|size)|too long|too many tokens|maximum number of tokens|reduce the length",
    re.IGNORECASE,
)


def by_status(
    status: int,
    headers: Mapping[str, str],
    body_text: str,
    *,
    message: str = "",
    refused_parameter: str | None = None,
    quota: bool = False,
    wait: float | None = None,
) -> UpstreamError:
    """Return what an upstream HTTP status means for the caller.

    `message` is the provider's own words: they choose between sentences and never reach the client. `quota` marks a 429
    that waiting does not cure. `wait` is a wait in seconds found in the body; it goes before those in `headers`.
    """
    failure = _failure(status, message, quota)
    if failure.code == "provider_overloaded" and wait is None:
        wait = retry_after(headers, resets=status == 429)
    return UpstreamError(
        failure.code,
        failure.detail,
        kind=failure.kind,
        upstream_status=status,
        upstream_text=clip(body_text),
        refused_parameter=refused_parameter,
        retry_after=wait if failure.code == "provider_overloaded" and not quota else None,
        # The clients of OpenAI and Anthropic obey it, before anything else.
        retryable=False if headers.get("x-should-retry", "").strip().lower() == "false" else failure.retryable,
    )


def _failure(status: int, message: str, quota: bool) -> _Failure:
    if status == 429 and quota:
        return _QUOTA
    if status in (400, 422) and _TOO_LONG_WORDS.search(message):
        return _TOO_LONG
    if status in (400, 422) and "image" in message.lower():
        return _BAD_IMAGE
    return _BY_STATUS.get(status) or (_SERVER if 500 <= status <= 599 else _BROKEN)


def broken(detail: str = _BROKEN.detail, *, upstream_text: str = "") -> UpstreamError:
    """Return the error for a reply that is not what the provider's format promises."""
    return UpstreamError("provider_error", detail, kind="broken", upstream_text=clip(upstream_text))


def truncated() -> Failed:
    """Return the terminal event of a stream that ended without its end marker."""
    return Failed(broken("The provider's reply ended before it was complete."))


def clip(text: str, limit: int = MAX_UPSTREAM_TEXT) -> str:
    """Return `text` cut to at most `limit` UTF-8 bytes, without NUL."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration(text: str) -> float | None:
    """Return the seconds of a Go-style duration such as `6ms`, `1m2.5s` or `48s`, None when it is none."""
    text = text.strip()
    pieces = _DURATION.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    return _bounded(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in pieces))


def retry_after(headers: Mapping[str, str], *, resets: bool = True) -> float | None:
    """Return how many seconds the provider asks to wait, None when it does not say. Header names in lower case.

    Read in the order of the vendors' own clients: `retry-after-ms`, `retry-after` (seconds or an HTTP date); then, with
    `resets`, the `x-ratelimit-reset-*` durations of OpenAI and Groq, of the limit that is used up. They stand in every reply,
    so they say something about a 429 alone.
    """
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return _bounded(exact / 1000)
    plain = headers.get("retry-after")
    if plain is not None:
        seconds = _number(plain)
        return _bounded(seconds) if seconds is not None else _until(plain, headers.get("date"))
    return _reset(headers) if resets else None


def _reset(headers: Mapping[str, str]) -> float | None:
    resets = {
        what: wait
        for what in ("tokens", "requests")
        if (wait := duration(headers.get(f"x-ratelimit-reset-{what}", ""))) is not None
    }
    spent = [wait for what, wait in resets.items() if _number(headers.get(f"x-ratelimit-remaining-{what}")) == 0]
    return max(spent) if spent else next(iter(resets.values()), None)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _until(date: str, now: str | None) -> float | None:
    moment = _http_date(date)
    if moment is None:
        return None
    started = _http_date(now) if now else None
    return _bounded(moment - (time.time() if started is None else started))


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_WAIT_S)


_REFUSAL_WORDS = re.compile(
    r"unsupported|not supported|does not support|doesn't support|not permitted|not allowed|deprecated|unrecognized|"
    r"unknown (?:name|field|parameter)|cannot be used|may only be set",
    re.IGNORECASE,
)


def named_parameter(message: str, candidates: Iterable[str]) -> str | None:
    """Return the first of the request parameters `candidates` that a provider's 400 refuses by name, if any."""
    if not _REFUSAL_WORDS.search(message):
        return None
    places = {name: re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", message) for name in candidates}
    found = {name: place.start() for name, place in places.items() if place is not None}
    return min(found, key=found.__getitem__, default=None)
