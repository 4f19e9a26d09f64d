"""Refusals of OpenAI's format: what each means for the caller, and which parameter to try without."""

import json
from typing import Any

import pytest

from gateway.core.errors import UpstreamError
from gateway.providers.openai import GROQ, PROVIDER
from tests.providers import fixture_cases as fx


def refusal(status: int, **error: Any) -> UpstreamError:
    return PROVIDER.decode_error(status, {}, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("name", "code", "kind", "retryable"),
    [
        ("openai:error-400-schema", "provider_rejected", "rejected", False),
        ("openai:error-400-max-tokens-legacy", "provider_rejected", "rejected", False),
        ("openai:error-401-invalid-key", "provider_error", "key_refused", False),
        ("openai:error-404-model-not-found", "provider_error", "rejected", False),
        ("openai:error-429-insufficient-quota", "provider_overloaded", "quota", False),
        ("openai:error-429-rate-limit", "provider_overloaded", "rate_limited", True),
        ("groq:error-400-tool-use-failed", "provider_error", "server", True),
        ("groq:error-400-tool-choice-required", "provider_error", "server", True),
        ("groq:error-400-unsupported-property", "provider_rejected", "rejected", False),
        ("groq:error-404-model-not-found", "provider_error", "rejected", False),
        ("groq:error-413-request-too-large", "provider_rejected", "rejected", False),
        ("groq:error-429-rate-limit", "provider_overloaded", "rate_limited", True),
    ],
)
def test_recorded_refusals(name: str, code: str, kind: str, retryable: bool) -> None:
    case = fx.case(*name.split(":"))
    error = GROQ.decode_error(case.status, case.headers, case.body)
    assert (error.code, error.kind, error.retryable) == (code, kind, retryable)


@pytest.mark.parametrize(("name", "wait"), [("openai", 1.574), ("groq", 6.0)])
def test_the_wait_of_a_rate_limit(name: str, wait: float) -> None:
    case = fx.case(name, "error-429-rate-limit")
    assert PROVIDER.decode_error(case.status, case.headers, case.body).retry_after == pytest.approx(wait)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("error-400-max-tokens-legacy", "max_tokens"),
        ("error-400-tools-with-reasoning-effort", "reasoning_effort"),
        ("error-400-unsupported-role", "system_role"),
        ("error-400-unsupported-stop", None),
        ("error-400-web-search", None),
        ("error-400-schema", None),
        ("error-401-invalid-key", None),
    ],
)
def test_the_refused_parameter_of_recordings(name: str, parameter: str | None) -> None:
    case = fx.case("openai", name)
    assert PROVIDER.decode_error(case.status, case.headers, case.body).refused_parameter == parameter


@pytest.mark.parametrize(
    ("error", "parameter"),
    [
        (
            {
                "message": "Unsupported value: 'temperature' does not support 0.2 with this model.",
                "param": "temperature",
                "code": "unsupported_value",
            },
            "temperature",
        ),
        ({"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}, "max_tokens"),
        ({"message": "property 'stream_options' is unsupported, did you mean 'stream'?"}, "stream_options"),
        ({"message": "`reasoning_format` is not supported with this model"}, "reasoning_format"),
        ({"message": "no", "param": "stream_options.include_obfuscation", "code": "unknown_parameter"}, "stream_options"),
        (
            {
                "message": "max_tokens is too large: 8192. This model supports at most 4096 completion tokens.",
                "param": "max_tokens",
                "code": "invalid_value",
            },
            "max_output_tokens",
        ),
        ({"message": "`max_completion_tokens` must be less than or equal to `4096`"}, "max_output_tokens"),
        ({"message": "Invalid 'temperature': must be at most 2.", "param": "temperature"}, None),
        ({"message": "messages.1.temperature is unsupported"}, None),
        ({"message": 5, "param": [], "code": {}}, None),
    ],
)
def test_the_refused_parameter(error: dict[str, Any], parameter: str | None) -> None:
    assert refusal(400, **error).refused_parameter == parameter


def test_only_a_bad_request_names_a_parameter() -> None:
    assert refusal(500, message="Unsupported parameter: 'temperature'").refused_parameter is None


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("This model's maximum context length is 8192 tokens.", "The conversation is too long for this model."),
        ("input exceeds the context limit of 4096", "The conversation is too long for this model."),
        ("context_limit reached", "The conversation is too long for this model."),
        ("the request exceeds the available context size (4096 tokens)", "The conversation is too long for this model."),
        ("Invalid image data.", "The provider cannot use an image of this conversation."),
        ("Something else.", "The provider refused this request."),
    ],
)
def test_the_sentence_for_the_user(message: str, sentence: str) -> None:
    assert refusal(400, message=message).detail == sentence


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"\xff\x00", b"[]", b"7", b'{"error": 5}', b'[{"error": "x"}]'])
def test_a_body_of_any_kind(body: bytes) -> None:
    error = PROVIDER.decode_error(502, {}, body)
    assert (error.code, error.kind, error.upstream_status) == ("provider_error", "server", 502)
    assert "\x00" not in error.upstream_text


def test_a_long_body_is_cut_in_the_log() -> None:
    error = PROVIDER.decode_error(500, {}, "ع".encode() * 5000)
    assert len(error.upstream_text.encode()) <= 2048
    assert error.upstream_text.startswith("عع")


def test_an_unknown_model_is_the_gateways_setup_whatever_the_status() -> None:
    body = (
        b'{"error": {"message": "The requested model does not exist.", "type": "x", "param": "model", "code": "model_not_found"}}'
    )
    error = PROVIDER.decode_error(400, {}, body)
    assert (error.code, error.detail, error.upstream_status) == (
        "provider_error",
        "The provider does not offer this model.",
        400,
    )
