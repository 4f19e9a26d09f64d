"""What differs by model, in one table: the first row whose pattern matches the whole model name counts.

A model that stands in no row gets its provider's plain defaults; a parameter it then refuses is dropped by the engine
after the provider's own 400 (`UpstreamError.refused_parameter`) and remembered.
Sources: the vendors' model pages and SDK types as of November 2026.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal


@dataclass(frozen=True, slots=True)
class Traits:
    """How one model wants to be asked.

    `temperature`: takes sampling parameters. `system_role`: where OpenAI's format puts the system prompt.
    `effort_with_tools`: `reasoning_effort` that must be sent with tools (OpenAI from 5.4 on refuses tools beside any
    other). `reasoning_format`: Groq's switch that keeps reasoning out of the text. `thinking`: thinks unasked, returns
    summaries on request (OpenAI on Responses alone). `signatures`: Gemini 3 refuses a replayed call without its signature.
    `prefill`: takes a last assistant message to continue from.
    `output_limit`: what OpenAI's format calls it here; servers that speak it know the older name, or do not know the newer.
    `responses`: asked through OpenAI's Responses API, because Chat Completions refuses it, or refuses it tools.
    `forced_tools`: takes a tool choice that demands a call (Anthropic's newest answer that with 400).
    """

    temperature: bool = True
    system_role: Literal["system", "developer", "user"] = "system"
    effort_with_tools: str | None = None
    reasoning_format: str | None = None
    thinking: bool = False
    signatures: bool = False
    prefill: bool = False
    forced_tools: bool = True
    output_limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    responses: bool = False


_DEFAULT = Traits()
_COMPATIBLE = Traits(output_limit="max_tokens")

_OPENAI_REASONING = Traits(temperature=False, system_role="developer", thinking=True)
_OPENAI_EFFORT_NONE = replace(_OPENAI_REASONING, effort_with_tools="none")
_OPENAI_RESPONSES = replace(_OPENAI_REASONING, responses=True)

_CLAUDE_UNFORCED = Traits(temperature=False, thinking=True, forced_tools=False)

_TABLE: tuple[tuple[str, str, Traits], ...] = (
    ("openai", r"o1-mini.*|o1-preview.*", Traits(temperature=False, system_role="user")),
    ("openai", r"(o\d|gpt-[5-9][\d.]*)-(pro|codex).*|gpt-6-astra.*|gpt-6\.[12]-sol.*", _OPENAI_RESPONSES),
    ("openai", r"o\d.*", _OPENAI_REASONING),
    ("openai", r"gpt-5\.[4-9].*|gpt-[6-9].*", _OPENAI_EFFORT_NONE),
    ("openai", r"gpt-5.*", _OPENAI_REASONING),
    ("groq", r"qwen.*|deepseek.*", Traits(reasoning_format="parsed")),
    ("anthropic", r"claude-opus-4-[7-9].*", Traits(temperature=False)),
    ("anthropic", r"claude-((opus|sonnet)-5-[5-9]|fable-|mythos-).*", _CLAUDE_UNFORCED),
    ("anthropic", r"claude-(opus|sonnet|haiku)-[5-9].*", Traits(temperature=False, thinking=True)),
    ("anthropic", r"claude-.*", Traits(prefill=True)),
    ("google", r"gemini-2\.5.*", Traits(thinking=True)),
    ("google", r"gemini-3\.([6-9]|\d\d).*|gemini-[4-9].*", Traits(temperature=False, thinking=True, signatures=True)),
    ("google", r"gemini-3.*", Traits(thinking=True, signatures=True)),
)
_OWN = frozenset({"openai", "groq", "anthropic", "google"})
_COMPILED = tuple((provider, re.compile(pattern), traits) for provider, pattern, traits in _TABLE)


@lru_cache(maxsize=1024)
def traits(provider: str, model: str) -> Traits:
    """Return what is known of `model` at `provider`."""
    for name, pattern, known in _COMPILED:
        if name == provider and pattern.fullmatch(model):
            return known
    return _DEFAULT if provider in _OWN else _COMPATIBLE
