"""A conversation in the gateway's own words: what every provider's encoder reads."""

from typing import Any, Literal

from gateway.core.value import value


@value
class TextPart:
    """A piece of a user's message."""

    text: str


@value
class ImagePart:
    """An image by `https:` URL or `data:` URL; the gateway never fetches it."""

    url: str


Part = TextPart | ImagePart


@value
class ToolCall:
    """One whole call of a client's tool.

    `arguments` is always an object; where the model wrote something else it is `{}` and `arguments_text` holds what came.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    arguments_text: str | None = None


@value
class KeptState:
    """What a provider must get back unchanged with its own assistant turn: signatures, thinking blocks.

    `data` is opaque to all but the provider's module (`providers/<name>.py`) and must be JSON.
    """

    provider: str
    model: str
    data: dict[str, Any]


@value
class UserMessage:
    """What the user said: text and images, in order."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@value
class AssistantMessage:
    """What the model answered. Each of its calls has exactly one result in the `ToolResults` that follows it."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    state: KeptState | None = None


@value
class ToolResult:
    """The result of one call. `call_id` and `name` are those of the call it answers."""

    call_id: str
    name: str
    content: str


@value
class ToolResults:
    """All results for the calls of the assistant message before, in the order of the calls."""

    results: tuple[ToolResult, ...]


Message = UserMessage | AssistantMessage | ToolResults


@value
class ToolSpec:
    """A tool the model may call; `parameters` is JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]


@value
class ToolChoice:
    """Whether the model may, must or must not call a tool; `name` only with `mode="named"`."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


@value
class ReplyFormat:
    """The reply is to be JSON: as `schema` (JSON Schema) says, or any object. The rest is OpenAI's, for those who take it: what
    the schema is called and for, and whether the model must keep to it."""

    schema: dict[str, Any] | None = None
    name: str = "reply"
    description: str | None = None
    strict: bool | None = None


@value
class Prompt:
    """One request to a model.

    `messages` ends with a user message or tool results, or with the beginning of the answer for a model that goes on from
    such; call ids are unique within it. The reply ends before the first of the texts `stop`, which is not part of it.
    """

    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    temperature: float | None = None
    max_tokens: int = 8192
    format: ReplyFormat | None = None
    stop: tuple[str, ...] = ()
