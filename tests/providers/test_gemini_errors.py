"""What each refusal of Gemini's means for retries, other keys and the caller."""

import json
from typing import Any

import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Failed
from gateway.providers.gemini import PROVIDER
from tests.providers import fixture_cases as fx


def refusal(status: int, message: str = "", details: list[Any] | None = None, **headers: str) -> UpstreamError:
    error = {"code": status, "message": message, "status": "INVALID_ARGUMENT", "details": details or []}
    return PROVIDER.decode_error(status, headers, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("name", "code", "kind", "retryable"),
    [
        ("error-400-api-key-invalid", "provider_error", "key_refused", False),
        ("error-400-context-length", "provider_rejected", "rejected", False),
        ("error-400-function-response-count", "provider_rejected", "rejected", False),
        ("error-400-missing-thought-signature", "provider_rejected", "rejected", False),
        ("error-403-unregistered", "provider_error", "key_refused", False),
        ("error-404-model", "provider_error", "rejected", False),
        ("error-429-quota", "provider_overloaded", "rate_limited", True),
        ("error-429-vertex-quota", "provider_overloaded", "rate_limited", True),
        ("error-503-overloaded", "provider_overloaded", "overloaded", True),
    ],
)
def test_recorded_refusals(name: str, code: str, kind: str, retryable: bool) -> None:
    case = fx.case("google", name)
    error = PROVIDER.decode_error(case.status, case.headers, case.body)
    assert (error.code, error.kind, error.retryable) == (code, kind, retryable)
    assert error.upstream_status == case.status
    assert error.refused_parameter is None


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "provider_error", "key_refused"),
        (402, "provider_overloaded", "quota"),
        (404, "provider_error", "rejected"),
        (408, "provider_timeout", "timeout"),
        (499, "provider_timeout", "timeout"),
        (504, "provider_timeout", "timeout"),
        (500, "provider_error", "server"),
        (502, "provider_error", "server"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b"{}", b"[1]", b'{"error": 7}', b"\xff", b"[[[["])
def test_the_status_is_enough(status: int, code: str, kind: str, body: bytes) -> None:
    error = PROVIDER.decode_error(status, {}, body)
    assert (error.code, error.kind, error.upstream_status) == (code, kind, status)


def test_an_error_in_an_array_is_read_too() -> None:
    case = fx.case("google", "error-429-quota")
    error = PROVIDER.decode_error(429, {}, b"[" + case.body + b"]")
    assert (error.kind, error.retry_after) == ("rate_limited", 48)


@pytest.mark.parametrize(
    ("details", "headers", "wait"),
    [
        ([{"retryDelay": "48s"}], {"retry-after": "7"}, 48),
        ([{"reason": "x"}, {"retryDelay": "1.5s"}], {}, 1.5),
        ([{"retryDelay": "soon"}], {"retry-after": "7"}, 7),
        ([{"retryDelay": 7}, None, "x"], {}, None),
        ([], {"retry-after": "7"}, 7),
    ],
)
def test_how_long_to_wait(details: list[Any], headers: dict[str, str], wait: float | None) -> None:
    assert refusal(429, "", details, **headers).retry_after == wait


UNKNOWN = "Invalid JSON payload received. Unknown name"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (f"{UNKNOWN} \"thinkingLevel\" at 'generation_config.thinking_config': Cannot find field.", "thinkingConfig"),
        (f"{UNKNOWN} \"thinkingConfig\" at 'generation_config': Cannot find field.", "thinkingConfig"),
        (f"{UNKNOWN} \"temperature\" at 'generation_config': Cannot find field.", "temperature"),
        (f'{UNKNOWN} "systemInstruction": Cannot find field.', "systemInstruction"),
        (f"{UNKNOWN} \"foo\" at 'tools[0].function_declarations[0]': Cannot find field.", None),
        ("Thinking level MINIMAL is not supported for this model.", "thinkingConfig"),
        ("Unable to submit request because thinking is not supported by this model.", "thinkingConfig"),
        ("thinking_config is not supported", "thinkingConfig"),
        ("temperature is not supported by this model.", "temperature"),
        ("The parameter `temperature` is deprecated for this model.", "temperature"),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", "systemInstruction"),
        ("Function calling is not enabled for this model", None),
        ("temperature must be in the range [0.0, 2.0].", None),
        ("max_output_tokens must be within the supported range from 1 to 65537.", None),
        ("User location is not supported for the API use.", None),
        ("Please use a valid role: user, model.", None),
        ("", None),
    ],
)
def test_which_parameter_is_refused(message: str, name: str | None) -> None:
    error = refusal(400, message)
    assert (error.code, error.kind, error.refused_parameter) == ("provider_rejected", "rejected", name)
    assert refusal(503, message).refused_parameter is None


@pytest.mark.parametrize(
    ("error", "code", "kind", "status"),
    [
        ({"code": 503, "message": "overloaded"}, "provider_overloaded", "overloaded", 503),
        ({"code": 429, "message": "quota"}, "provider_overloaded", "rate_limited", 429),
        ({"code": 499, "status": "CANCELLED"}, "provider_timeout", "timeout", 499),
        ({"code": 400, "message": "no"}, "provider_rejected", "rejected", 400),
        ({"status": "UNAVAILABLE"}, "provider_overloaded", "overloaded", 503),
        ({"status": "PERMISSION_DENIED", "code": "x"}, "provider_error", "key_refused", 403),
        ({"message": "تعذر"}, "provider_error", "server", 500),
        ("تعذر", "provider_error", "server", 500),
        ([7], "provider_error", "server", 500),
        ({"code": 200}, "provider_error", "broken", 200),
    ],
)
def test_errors_inside_a_reply(error: object, code: str, kind: str, status: int) -> None:
    events = PROVIDER.decode_reply(json.dumps({"error": error}).encode())
    assert len(events) == 1
    failed = events[0]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, UpstreamError)
    assert (failed.error.code, failed.error.kind, failed.error.upstream_status) == (code, kind, status)
