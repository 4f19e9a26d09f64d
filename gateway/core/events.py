"""What a provider's reply is made of: a closed union. Every stream of events has exactly one terminal event."""

from typing import Any, Literal

from gateway.core.errors import GatewayError
from gateway.core.value import value

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


@value
class Started:
    """The provider began to answer; `model` is the name it gives for itself, if any."""

    model: str | None = None


@value
class TextDelta:
    """A piece of the reply's visible text (a refusal's text too)."""

    text: str


@value
class ReasoningDelta:
    """A piece of the model's readable reasoning."""

    text: str


@value
class ToolCalled:
    """One whole tool call. `id` is the provider's own, or None; `arguments` is JSON text or an object."""

    id: str | None
    name: str
    arguments: str | dict[str, Any]


@value
class SourceFound:
    """A citation. `type` is the provider's own kind (`url_citation`, `web`, `char_location`…); the fold numbers `id`."""

    type: str
    title: str | None = None
    url: str | None = None
    snippet: str | None = None
    description: str | None = None
    id: str = ""


@value
class UsageReported:
    """Token counts; a field that is None was not reported. Later reports win, field by field.

    `input_tokens` is all input, tokens read from (`cached_tokens`) and written to (`cache_write_tokens`) a cache included;
    `output_tokens` all output, `reasoning_tokens` that part of it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None


@value
class Rerouted:
    """The gateway tries again (`retrying`) or asks another provider (`switched`)."""

    state: Literal["retrying", "switched"]
    provider: str
    model: str


@value
class StateKept:
    """What this provider must get back with the assistant turn on the next round; the last one wins."""

    data: dict[str, Any]


@value
class Finished:
    """The provider ended the reply in the way it ends a good one. Terminal."""

    reason: FinishReason


@value
class Failed:
    """The reply ended in any other way. Terminal."""

    error: GatewayError


Event = Started | TextDelta | ReasoningDelta | ToolCalled | SourceFound | UsageReported | Rerouted | StateKept | Finished | Failed
