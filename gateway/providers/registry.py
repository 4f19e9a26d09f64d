"""The providers by name. A vendor with a format of its own is one module and one line here."""

from collections.abc import Mapping

from gateway.providers import anthropic, gemini, openai
from gateway.providers.base import Provider

PROVIDERS: Mapping[str, Provider] = {
    "openai": openai.PROVIDER,
    "anthropic": anthropic.PROVIDER,
    "groq": openai.GROQ,
    "google": gemini.PROVIDER,
}
