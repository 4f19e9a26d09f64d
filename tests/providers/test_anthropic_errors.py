"""Anthropic's failures: HTTP errors, errors inside a stream, and which parameter a 400 refuses."""

import json

import pytest

from gateway.core.errors import UpstreamError
from gateway.core.events import Failed
from gateway.providers.anthropic import PROVIDER
from gateway.wire.sse import Frame


def refused(status: int, message: str = "", kind: str = "invalid_request_error", **headers: str) -> UpstreamError:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return PROVIDER.decode_error(status, named, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (400, "provider_rejected", "rejected", False),
        (401, "provider_error", "key_refused", False),
        (402, "provider_overloaded", "quota", False),
        (403, "provider_error", "key_refused", False),
        (404, "provider_error", "rejected", False),
        (413, "provider_rejected", "rejected", False),
        (429, "provider_overloaded", "rate_limited", True),
        (500, "provider_error", "server", True),
        (502, "provider_error", "server", True),
        (504, "provider_timeout", "timeout", True),
        (529, "provider_overloaded", "overloaded", True),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'{"error": "x"}', b'{"error": {"message": 1}}', b"[1]"])
def test_the_status_decides(status: int, code: str, kind: str, retryable: bool, body: bytes) -> None:
    error = PROVIDER.decode_error(status, {}, body)
    assert (error.code, error.kind, error.retryable) == (code, kind, retryable)
    assert error.upstream_status == status
    assert error.refused_parameter is None


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ("`temperature` is deprecated for this model.", "temperature"),
        ("temperature is deprecated for this model.", "temperature"),
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("`temperature` may only be set to 1 when thinking is enabled.", "temperature"),
        ("`top_p` is deprecated for this model.", "top_p"),
        ('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".', "thinking"),
        ("adaptive thinking is not supported on this model", "thinking"),
        ("thinking.display: Extra inputs are not permitted", "thinking"),
        ("Thinking may not be enabled when tool_choice forces tool use.", "thinking"),
        ('tool_choice: type "tool" and "any" are not supported for this model.', "tool_choice"),
        ("tool_choice forces tool use is not compatible with this model", "tool_choice"),
        ("This model does not support effort level 'xhigh'. Supported levels: high, low.", "output_config"),
        ("messages.1.content.0: Invalid `signature` in `thinking` block", "thinking_blocks"),
        ("messages.1.content.0.thinking.signature: Field required", "thinking_blocks"),
        ("messages.3.content.8: `thinking` or `redacted_thinking` blocks in the latest assistant message", "thinking_blocks"),
        ("messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.", "thinking"),
        ("messages.0.content.0.text: temperature is not supported", None),
        ("tools.0.custom.input_schema.properties.temperature: Input should be an object", None),
        ("max_tokens: 9000 > 8192, which is the maximum for this model; thinking counts", None),
        ("prompt is too long: 3333404 tokens > 200000 maximum", None),
        ("messages: text content blocks must be non-empty", None),
        ("system: thinking is not supported", None),
        ("", None),
    ],
)
def test_which_parameter_is_refused(message: str, parameter: str | None) -> None:
    error = refused(400, message)
    assert (error.code, error.kind, error.refused_parameter) == ("provider_rejected", "rejected", parameter)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."),
        (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."),
        (429, "This request would exceed your organization's monthly spend limit."),
    ],
)
def test_money_that_has_run_out_is_a_quota(status: int, message: str) -> None:
    error = refused(status, message)
    assert (error.kind, error.retryable, error.retry_after) == ("quota", False, None)
    assert error.upstream_status == status


def test_waits() -> None:
    assert refused(429, kind="rate_limit_error", retry_after="16").retry_after == 16.0
    assert refused(429, kind="rate_limit_error").retry_after is None


def test_the_provider_may_forbid_another_try() -> None:
    assert not refused(500, kind="api_error", x_should_retry="false").retryable
    assert refused(500, kind="api_error", x_should_retry="true").retryable


@pytest.mark.parametrize(
    ("type_", "code", "kind", "retryable"),
    [
        ("overloaded_error", "provider_overloaded", "overloaded", True),
        ("rate_limit_error", "provider_overloaded", "rate_limited", True),
        ("api_error", "provider_error", "server", True),
        ("timeout_error", "provider_timeout", "timeout", True),
        ("authentication_error", "provider_error", "key_refused", False),
        ("permission_error", "provider_error", "key_refused", False),
        ("billing_error", "provider_overloaded", "quota", False),
        ("invalid_request_error", "provider_rejected", "rejected", False),
        ("not_found_error", "provider_error", "rejected", False),
        ("request_too_large", "provider_rejected", "rejected", False),
        ("brand_new_error", "provider_error", "server", True),
    ],
)
def test_an_error_inside_a_stream(type_: str, code: str, kind: str, retryable: bool) -> None:
    data = json.dumps({"type": "error", "error": {"type": type_, "message": "سر لا يُكشف"}}, ensure_ascii=False).encode()
    [failed] = PROVIDER.decoder().feed(Frame("error", data))
    assert isinstance(failed, Failed)
    error = failed.error
    assert isinstance(error, UpstreamError)
    assert (error.code, error.kind, error.retryable) == (code, kind, retryable)
    assert "سر لا يُكشف" in error.upstream_text
    assert "سر" not in error.detail


@pytest.mark.parametrize("body", [b'{"type":"error"}', b'{"type":"error","error":[]}', b'{"type":"error","error":{"type":[]}}'])
def test_an_error_without_its_words(body: bytes) -> None:
    [failed] = PROVIDER.decoder().feed(Frame("error", body))
    assert isinstance(failed, Failed)
    assert failed.error.code == "provider_error"
