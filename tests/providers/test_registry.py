"""The registry holds what a request may ask for."""

import pytest

from gateway.providers.base import Provider
from gateway.providers.registry import PROVIDERS, RESPONSES, Api, wire
from tests.providers.fixture_cases import DIRECTORIES, WIRES


def test_every_format_has_recordings() -> None:
    assert set(PROVIDERS) < set(WIRES) == set(DIRECTORIES)
    assert all(isinstance(record, Provider) for record in WIRES.values())


def test_no_two_formats_share_a_record() -> None:
    assert len({id(record) for record in WIRES.values()}) == len(WIRES)


@pytest.mark.parametrize(
    ("provider", "model", "api", "expected"),
    [
        ("openai", "gpt-6-luna", "auto", PROVIDERS["openai"]),
        ("openai", "gpt-4o", "auto", PROVIDERS["openai"]),
        ("openai", "o3-mini", "auto", PROVIDERS["openai"]),
        ("openai", "gpt-6-astra", "auto", RESPONSES),
        ("openai", "gpt-6.1-sol-2026-09-30", "auto", RESPONSES),
        ("openai", "gpt-5.1-codex-max", "auto", RESPONSES),
        ("openai", "o3-pro", "auto", RESPONSES),
        ("openai", "gpt-6-luna", "responses", RESPONSES),
        ("openai", "gpt-6-astra", "chat", PROVIDERS["openai"]),
        ("anthropic", "claude-haiku-5-5", "auto", PROVIDERS["anthropic"]),
        ("groq", "openai/gpt-oss-120b", "auto", PROVIDERS["groq"]),
        ("ollama", "gpt-6-astra", "auto", PROVIDERS["openai"]),
        ("ollama", "gpt-oss:20b", "responses", RESPONSES),
    ],
)
def test_the_format_of_a_model(provider: str, model: str, api: Api, expected: Provider) -> None:
    assert wire(provider, model, api) is expected
