"""Anthropic's failures: HTTP errors and the `error` events inside a stream, which share one shape.

`{"type": "error", "error": {"type", "message"}, "request_id"}`; each `error.type` belongs to one HTTP status.
Source: the Messages API reference, "Errors".
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.core.errors import UpstreamError
from gateway.core.jsontext import loads
from gateway.providers.common import as_dict, as_str, by_status

THINKING_BLOCKS = "thinking_blocks"
"""The name under which a refused replay of thinking blocks is dropped: no request key, but droppable like one."""

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

# A used-up balance comes as a 400 and a spend cap as a 429, both told from their siblings by words alone.
_MONEY = re.compile(r"credit balance|usage limits|spend(?:ing)? (?:limit|cap)|billing", re.IGNORECASE)
_REPLAY = re.compile(r"messages\.\d+\.content\.\d+\b.*(?:thinking|signature)", re.DOTALL)
_MISSING_THINKING = re.compile(r"expected `?thinking|must start with a thinking block", re.IGNORECASE)
_INSIDE = ("messages", "tools.", "system", "model", "max_tokens", "input length", "prompt")
_PARAMETER = re.compile(
    r"\b(temperature|top_p|top_k|thinking|tool_choice|output_config|effort|metadata|service_tier|stream)\b",
    re.IGNORECASE,
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return what a reply with a non-2xx `status` means. `headers` have lower-case names; `body` may be anything."""
    text = body.decode("utf-8", "replace")
    try:
        error = as_dict(as_dict(loads(body)).get("error"))
    except ValueError:
        error = {}
    return _failure(status, headers, text, as_str(error.get("message")) or "")


def stream_error(data: dict[str, Any], raw: bytes) -> UpstreamError:
    """Return what the `error` event `raw`, decoded as `data`, means: its HTTP status is 200, so `error.type` decides."""
    error = as_dict(data.get("error"))
    status = _STATUS_OF_TYPE.get(as_str(error.get("type")) or "", 500)
    return _failure(status, {}, raw.decode("utf-8", "replace"), as_str(error.get("message")) or "")


def _failure(status: int, headers: Mapping[str, str], text: str, message: str) -> UpstreamError:
    if status in (400, 429) and _MONEY.search(message):
        failure = by_status(402, {}, text, message=message)
        failure.upstream_status = status
        return failure
    refused = refused_parameter(message) if status in (400, 422) else None
    return by_status(status, headers, text, message=message, refused_parameter=refused)


def refused_parameter(message: str) -> str | None:
    """Return the top-level request key that a 400's `message` refuses, or `THINKING_BLOCKS` for a refused replay."""
    if _MISSING_THINKING.search(message):
        return "thinking"
    if _REPLAY.match(message):
        return THINKING_BLOCKS
    if message.startswith(_INSIDE):
        return None
    found = _PARAMETER.search(message)
    if found is None:
        return None
    name = found[1].lower()
    return "output_config" if name == "effort" else name
