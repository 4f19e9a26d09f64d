"""Failures in OpenAI's error shape, `{"error": {message, type, param, code}}`, as HTTP replies and inside streams.

Source: the error types of the openai 3.54 and groq 1.7 clients. Groq adds `status_code` and `failed_generation` to the
object and sends no `param`.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.core.errors import UpstreamError
from gateway.core.jsontext import dumps_text, loads
from gateway.providers.common import as_dict, as_int, as_list, as_str, by_status, clip, named_parameter

DROPPABLE = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "reasoning_effort",
    "reasoning_format",
    "stream_options",
)
"""Request parameters that the encoder can leave out; it also knows `max_output_tokens` and `system_role` below."""

TOOL_CALL_IDS = "tool_call_ids"
"""The name under which the usual ids of tool calls are dropped for those that Mistral's models demand."""

_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_MODEL_SLIPS = frozenset({"tool_use_failed", "output_parse_failed", "json_validate_failed"})
_IMPLIED_STATUS = {
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "tool_use_failed": 400,
    "invalid_prompt": 400,
    "bio_policy": 400,
    "misalignment_policy_violation": 400,
    "data_residency_mismatch": 400,
    "upstream_error": 502,
    "server_is_overloaded": 503,
    "overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "timeout": 504,
    "invalid_request_error": 400,
}
_ROLE_REFUSED = re.compile(r"messages\[\d+\]\.role\W+does not support")
_IDS_REFUSED = re.compile(r"tool call id was .{0,100}must be a-z, A-Z, 0-9, with a length of 9", re.IGNORECASE | re.DOTALL)
_OUTPUT_TOO_LARGE = re.compile(r"max_(?:completion_|output_)?tokens.*(?:too large|at most|less than or equal)", re.DOTALL)


def decode_error(status: int, headers: Mapping[str, str], body: bytes, droppable: tuple[str, ...] = DROPPABLE) -> UpstreamError:
    """Return what a reply with a status other than 2xx means; `droppable` are the parameters that can be left out."""
    text = body.decode("utf-8", "replace")
    try:
        error = _error_object(loads(body))
    except ValueError:
        error = {}
    return _understand(status, headers, text, error, droppable)


def stream_error(error: dict[str, Any] | str, raw: bytes) -> UpstreamError:
    """Return what an error object inside a 200 means: its own status decides, else what its code or type implies."""
    fields = {"message": error} if isinstance(error, str) else error
    status = _own_status(fields)
    failure = _understand(status or _implied_status(fields), {}, raw.decode("utf-8", "replace"), fields, ())
    failure.upstream_status = status
    return failure


def find_error(value: dict[str, Any]) -> dict[str, Any] | str | None:
    """Return the error object of a chunk or reply, if it holds one.

    Groq also puts a bare string into `x_groq`, OpenRouter an object into the choice.
    """
    choices = as_list(value.get("choices"))
    of_choice = as_dict(choices[0]).get("error") if choices else None
    for error in (value.get("error"), as_dict(value.get("x_groq")).get("error"), of_choice):
        if error and isinstance(error, dict | str):
            return error
    return None


def _understand(
    status: int, headers: Mapping[str, str], text: str, error: dict[str, Any], droppable: tuple[str, ...]
) -> UpstreamError:
    message = _message(error)
    names = {error.get(key) for key in ("code", "type") if isinstance(error.get(key), str)}
    if names & _MODEL_SLIPS:
        detail = "The model wrote what does not fit the tools or the format asked for."
        return UpstreamError("provider_error", detail, kind="server", upstream_status=status, upstream_text=clip(text))
    if "model_not_found" in names:
        # Responses says this with a 400.
        failure = by_status(404, headers, text)
        failure.upstream_status = status
        return failure
    refused = _refused_parameter(error, message, droppable) if status in (400, 422) else None
    return by_status(status, headers, text, message=message, refused_parameter=refused, quota=bool(names & _QUOTA))


def _message(error: dict[str, Any]) -> str:
    """Return what the error says; some servers put a list of what they found wrong in its place (FastAPI's, Mistral's)."""
    for said in (error.get("message"), error.get("detail")):
        if said:
            return said if isinstance(said, str) else dumps_text(said)
    return ""


def _refused_parameter(error: dict[str, Any], message: str, droppable: tuple[str, ...]) -> str | None:
    """Return a parameter to leave out, `system_role` (speak as the user), `max_output_tokens` (set no limit) or
    `TOOL_CALL_IDS`."""
    if _ROLE_REFUSED.search(message):
        return "system_role"
    if _OUTPUT_TOO_LARGE.search(message):
        return "max_output_tokens"
    if _IDS_REFUSED.search(message):
        return TOOL_CALL_IDS
    top = re.split(r"[.\[]", as_str(error.get("param")) or "", maxsplit=1)[0]
    if top in droppable and (error.get("code") in _UNSUPPORTED or named_parameter(message, (top,))):
        return top
    return named_parameter(message, droppable)


def _error_object(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and value:
        value = value[0]
    body = as_dict(value)
    error = find_error(body)
    return {"message": error} if isinstance(error, str) else error or body


def _own_status(error: dict[str, Any]) -> int | None:
    for key in ("status_code", "status", "code"):
        value = error.get(key)
        status = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else as_int(value)
        if status is not None and 300 <= status <= 599:
            return status
    return None


def _implied_status(error: dict[str, Any]) -> int:
    for key in ("code", "type"):
        name = as_str(error.get(key)) or ""
        status = _IMPLIED_STATUS.get(name)
        if status is not None:
            return status
        if "image" in name:
            return 400
    return 500
