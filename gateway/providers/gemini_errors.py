"""Gemini's failures: a Google API error object, in an HTTP reply or in the middle of a stream.

Shape: `{"error": {"code", "message", "status", "details": […]}}`, google.rpc.Status as JSON; sometimes inside an array.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.core.errors import UpstreamError
from gateway.core.jsontext import loads
from gateway.providers.common import as_dict, as_int, as_list, as_str, by_status, duration

# google.rpc.Code, for an error object without a number.
_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_UNKNOWN_NAME = re.compile(r'Unknown name "(\w+)"(?: at \'([\w.\[\]]+)\')?')
_REFUSED = re.compile(
    r"(?:is|are) not (?:supported|enabled|available|configurable|allowed)|not supported (?:by|for|in)|unsupported|"
    r"does not support|doesn't support|deprecated|only works in thinking mode|only enabled when",
    re.IGNORECASE,
)
_MENTIONS = (
    ("thinkingConfig", re.compile(r"\bthinking|include_?thoughts", re.IGNORECASE)),
    ("temperature", re.compile(r"\btemperature\b", re.IGNORECASE)),
    ("systemInstruction", re.compile(r"(?:developer|system)[_ ]?instruction", re.IGNORECASE)),
    ("maxOutputTokens", re.compile(r"max_?output_?tokens", re.IGNORECASE)),
)
DROPPABLE = tuple(name for name, _ in _MENTIONS)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return what a reply with this HTTP status means; any body will do, HTML and none at all too."""
    try:
        value = loads(body)
    except ValueError:
        value = None
    if isinstance(value, list) and value:
        value = value[0]
    return _failure(status, headers, as_dict(value).get("error"), body.decode("utf-8", "replace"))


def stream_error(error: object) -> UpstreamError:
    """Return what the value of an `error` field inside a reply of status 200 means."""
    fields = as_dict(error)
    status = as_int(fields.get("code")) or _CODES.get(as_str(fields.get("status")) or "", 500)
    return _failure(status, {}, error, "")


def _failure(status: int, headers: Mapping[str, str], error: object, text: str) -> UpstreamError:
    fields = as_dict(error)
    message = as_str(error) or as_str(fields.get("message")) or ""
    details = [detail for detail in as_list(fields.get("details")) if isinstance(detail, dict)]
    failure = by_status(
        _meaning(status, details),
        headers,
        text or message,
        message=message,
        refused_parameter=refused_parameter(message) if status == 400 else None,
        wait=_wait(details),
    )
    failure.upstream_status = status
    return failure


def _meaning(status: int, details: list[dict[str, Any]]) -> int:
    """Return the status that others would have sent: Gemini refuses a bad key with 400 and gives up with 499."""
    if status == 400 and any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return 401
    return 504 if status == 499 else status


def _wait(details: list[dict[str, Any]]) -> float | None:
    """Return the seconds of google.rpc.RetryInfo (`"retryDelay": "48s"`), if it is there."""
    delays = (as_str(detail.get("retryDelay")) for detail in details)
    return next((duration(delay) for delay in delays if delay), None)


def refused_parameter(message: str) -> str | None:
    """Return which parameter a 400 refuses, by the name it has in the request, if it is one that can be left out."""
    unknown = _UNKNOWN_NAME.search(message)
    if unknown:
        name, path = unknown.groups()
        return next((step for step in map(_camel, [*(path or "").split("."), name]) if step in DROPPABLE), None)
    if not _REFUSED.search(message):
        return None
    return next((name for name, pattern in _MENTIONS if pattern.search(message)), None)


def _camel(name: str) -> str:
    """Return a protobuf field's JSON name: `thinking_config` as `thinkingConfig`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
