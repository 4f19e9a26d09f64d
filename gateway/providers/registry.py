"""The providers by name. A vendor with a format of its own is one module and one line here."""

from collections.abc import Mapping
from typing import Literal

from gateway.providers import anthropic, gemini, openai, responses
from gateway.providers.base import Provider
from gateway.providers.models import traits

PROVIDERS: Mapping[str, Provider] = {
    "openai": openai.PROVIDER,
    "anthropic": anthropic.PROVIDER,
    "groq": openai.GROQ,
    "google": gemini.PROVIDER,
}
RESPONSES = responses.PROVIDER

Api = Literal["auto", "chat", "responses"]
"""Which of OpenAI's two formats a provider is asked in; `auto`: as the model table says, Chat Completions if nothing."""


def wire(provider: str, model: str, api: Api = "auto") -> Provider:
    """Return the format in which `model` is asked; a provider that is not of those above speaks OpenAI's."""
    if api == "responses" or (api == "auto" and traits(provider, model).responses):
        return RESPONSES
    return PROVIDERS.get(provider, openai.PROVIDER)
