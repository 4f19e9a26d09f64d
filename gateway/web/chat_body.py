"""The body of POST /chat and /chat/stream: what is accepted, and how it becomes a `ChatRequest`."""

import hashlib
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError, model_validator

from gateway.core.errors import GatewayError
from gateway.core.fold import parse_arguments
from gateway.core.jsontext import REPLACEMENT, loads
from gateway.core.messages import ImagePart, Part, TextPart, ToolChoice, ToolSpec
from gateway.core.request import ChatRequest, Entry, RawCall
from gateway.web.validation import invalid

MAX_ENTRIES = 2000
MAX_TOOLS = 512
MAX_CALLS = 256


def _no_control_characters(value: str) -> str:
    # NUL and lone surrogates have become U+FFFD on decoding.
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or char == REPLACEMENT for char in value):
        raise ValueError("must not hold control characters")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def whole_number(value: Any) -> Any:
    """Take 12.0 for 12, as JavaScript means it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_LINE: dict[str, Any] = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f\ufffd]*$"}
_ONE_ASKS: dict[str, Any] = {
    "anyOf": [
        {"required": ["message"], "properties": {"message": {"type": "string"}}},
        {"required": ["messages"], "properties": {"messages": {"type": "array", "minItems": 1}}},
    ]
}

Line = Annotated[StrictStr, Field(min_length=1, max_length=200, json_schema_extra=_LINE), AfterValidator(_no_control_characters)]
Said = Annotated[StrictStr, Field(json_schema_extra={"pattern": r"\S"}), AfterValidator(_not_blank)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class TextContent(_Body):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


class ImageUrl(_Body):
    """Where an image is: `https:` or a `data:` URL."""

    url: Annotated[StrictStr, Field(min_length=1, pattern=r"^(https?://|data:)")]


class ImageContent(_Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Content = StrictStr | list[Annotated[TextContent | ImageContent, Field(discriminator="type")]] | None


class FunctionCall(_Body):
    """A called function in OpenAI's shape."""

    name: Line
    arguments: StrictStr | dict[str, Any] | None = None


class HistoryCall(_Body):
    """A tool call in the history: `{id, name, arguments}`, or OpenAI's `{id, type, function}`."""

    id: StrictStr | None = None
    name: Line | None = None
    arguments: StrictStr | dict[str, Any] | None = None
    function: FunctionCall | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "HistoryCall":
        if self.name is None and self.function is None:
            raise ValueError("a tool call needs a name")
        return self

    def raw(self) -> RawCall:
        name = self.function.name if self.function else self.name
        arguments = self.function.arguments if self.function else self.arguments
        return RawCall(self.id or None, name or "", parse_arguments(arguments or {})[0])


class MessageEntry(_Body):
    """One entry of `messages`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: Annotated[list[HistoryCall], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: StrictStr | None = None

    @property
    def says_something(self) -> bool:
        return any(isinstance(part, ImagePart) or part.text.strip() for part in self.parts())

    def parts(self) -> tuple[Part, ...]:
        if self.content is None or isinstance(self.content, str):
            return (TextPart(self.content),) if self.content else ()
        return tuple(
            TextPart(part.text) if isinstance(part, TextContent) else ImagePart(part.image_url.url) for part in self.content
        )

    def entry(self) -> Entry:
        calls = tuple(call.raw() for call in self.tool_calls or ()) if self.role == "assistant" else ()
        return Entry(self.role, self.parts(), calls, self.tool_call_id)


class FunctionTool(_Body):
    """A function in OpenAI's shape."""

    name: Line
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Body):
    """A tool definition: `{name, description, parameters}`, OpenAI's `{type, function}` or Anthropic's with `input_schema`."""

    name: Line | None = None
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    function: FunctionTool | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "Tool":
        if self.name is None and self.function is None:
            raise ValueError("a tool needs a name")
        return self

    def spec(self) -> ToolSpec:
        if self.function:
            return ToolSpec(self.function.name, self.function.description or "", self.function.parameters or {})
        return ToolSpec(self.name or "", self.description or "", self.parameters or self.input_schema or {})


class NamedChoice(_Body):
    """One tool that must be called: `{"name": …}`, or OpenAI's `{"type": "function", "function": {"name": …}}`."""

    name: Line | None = None
    function: FunctionTool | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "NamedChoice":
        if self.name is None and self.function is None:
            raise ValueError("takes auto, none, required or a tool's name")
        return self

    def chosen(self) -> str:
        return self.function.name if self.function else self.name or ""


class ChatBody(_Body):
    """What POST /chat and POST /chat/stream take, `message` or `messages` at least; unknown fields are ignored."""

    model_config = ConfigDict(json_schema_extra=_ONE_ASKS)

    conversation_id: Line | None = None
    """Absent: a new conversation."""
    message: Said | None = None
    """What the user says."""
    messages: Annotated[list[MessageEntry], Field(max_length=MAX_ENTRIES)] | None = None
    """The whole history, newest last; absent, it comes from the log. With a last entry of `user` or `tool`, that one is the
    new one and `message` is ignored. Entries of `tool` alone go behind the log's history."""
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    """Tools of the client's that the model may call."""
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | None = None
    """Whether the model may, must not or must call a tool, or which one it must call."""
    system_prompt: StrictStr | None = None
    """Goes before `system` entries of `messages`."""
    provider: Annotated[StrictStr, Field(max_length=100)] | None = None
    """`openai`, `anthropic`, `groq`, `google` (also `gemini`) or one that the operator named; absent: the server's default."""
    model: Annotated[StrictStr, Field(max_length=200)] | None = None
    """One of the models that the server offers for the provider; absent: its default."""
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    """Left out where a model takes none."""
    max_tokens: Annotated[int, Field(strict=True, ge=1), BeforeValidator(whole_number)] | None = None
    """At most this many tokens of reply; the server has a bound of its own."""

    @model_validator(mode="before")
    @classmethod
    def _newest_counts(cls, value: Any) -> Any:
        """Leaves `message` out where it is ignored, whatever it is."""
        if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
            return value
        roles = [entry.get("role") if isinstance(entry, dict) else None for entry in value["messages"]]
        newest = next((role for role in reversed(roles) if role != "system"), None)
        return {**value, "message": None} if newest in ("user", "tool") else value

    @model_validator(mode="after")
    def _asks_something(self) -> "ChatBody":
        if self.message is None and not self.messages:
            raise ValueError("one of message and messages is needed")
        newest = self.messages[-1] if self.messages else None
        if newest is not None and newest.role == "user" and not newest.says_something:
            raise ValueError("the newest user entry needs text or an image")
        if isinstance(self.tool_choice, NamedChoice):
            names = {tool.spec().name for tool in self.tools or ()}
            if self.tool_choice.chosen() not in names:
                raise ValueError("tool_choice names a tool that is not among tools")
        return self


def parse_chat(body: bytes) -> ChatRequest:
    """Raises `GatewayError`: `invalid_json`, `invalid_request`."""
    try:
        value = loads(body)
    except ValueError:
        raise GatewayError("invalid_json", "The body is not JSON.") from None
    try:
        parsed = ChatBody.model_validate(value)
    except ValidationError as error:
        raise invalid(error) from None
    return _request(parsed, hash_of(value))


def hash_of(value: Any) -> str:
    """SHA-256 of parsed JSON, whatever its spacing and key order. Raises `GatewayError` `invalid_request`."""
    try:
        # The brackets leave room for what the value is wrapped into on its way to a provider and to the log.
        text = orjson.dumps([[[[[[[[value]]]]]]]], option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise GatewayError("invalid_request", "The body is nested too deeply, or holds a number out of range.") from None
    return hashlib.sha256(text).hexdigest()


def _request(body: ChatBody, body_hash: str) -> ChatRequest:
    tools = tuple(tool.spec() for tool in body.tools or ())
    return ChatRequest(
        body_hash=body_hash,
        conversation_id=body.conversation_id,
        message=body.message,
        entries=None if body.messages is None else tuple(entry.entry() for entry in body.messages),
        tools=tools,
        tool_choice=tool_choice(body.tool_choice) if tools else None,
        system_prompt=body.system_prompt,
        provider=body.provider,
        model=body.model,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
    )


def tool_choice(choice: Literal["auto", "none", "required"] | NamedChoice | None) -> ToolChoice | None:
    """A choice as the engine knows it."""
    if choice is None:
        return None
    return ToolChoice("named", choice.chosen()) if isinstance(choice, NamedChoice) else ToolChoice(choice)
