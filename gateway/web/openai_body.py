"""The body of POST /v1/chat/completions: what is taken, ignored and refused, and how it becomes a `ChatRequest`.

Source: `CompletionCreateParams` of the openai 3.54 client. Parameters that this page does not name change how a reply is
worded or billed, not what it is (`top_p`, `seed`, `reasoning_effort`, `service_tier`…): they are ignored. Those that
promise the client something that it would not get are refused.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from gateway.core.errors import GatewayError
from gateway.core.jsontext import loads
from gateway.core.messages import ImagePart, Part, ReplyFormat, TextPart
from gateway.core.request import ChatRequest, Entry
from gateway.web.chat_body import (
    MAX_CALLS,
    MAX_ENTRIES,
    MAX_TOOLS,
    HistoryCall,
    ImageContent,
    Line,
    NamedChoice,
    TextContent,
    Tool,
    hash_of,
    tool_choice,
    whole_number,
)
from gateway.web.validation import invalid

_HOW_ASKED = ("stream", "stream_options")
_LINE: TypeAdapter[str] = TypeAdapter(Line)
MAX_STOPS = 4
MAX_STOP_CHARS = 200
_TEXT = {"type": "string", "maxLength": MAX_STOP_CHARS}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT | {"minLength": 1}, "maxItems": MAX_STOPS}, {"type": "null"}]}


def _only(*allowed: Any) -> tuple[AfterValidator, WithJsonSchema]:
    """For a parameter that is taken where it changes nothing."""

    def check(value: Any) -> Any:
        if value is not None and value not in allowed:
            raise ValueError("is not supported by this server")
        return value

    return AfterValidator(check), WithJsonSchema({"enum": [None, *allowed]})


def _name_or_nothing(value: Any) -> str | None:
    """OpenAI's `user` is any text: one that cannot name a conversation names none."""
    try:
        return _LINE.validate_python(value)
    except ValidationError:
        return None


def _texts(value: Any) -> Any:
    """One text may stand for a list of it; an empty one for none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return () if value is None else value


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class RefusalContent(_Body):
    """What an assistant refused with."""

    type: Literal["refusal"]
    refusal: StrictStr


CompletionContent = StrictStr | list[Annotated[TextContent | ImageContent | RefusalContent, Field(discriminator="type")]] | None


class CompletionMessage(_Body):
    """One entry of `messages`; `developer` is `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: CompletionContent = None
    refusal: StrictStr | None = None
    tool_calls: Annotated[list[HistoryCall], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: StrictStr | None = None

    def entry(self) -> Entry:
        calls = tuple(call.raw() for call in self.tool_calls or ()) if self.role == "assistant" else ()
        return Entry("system" if self.role == "developer" else self.role, self._parts(), calls, self.tool_call_id)

    def _parts(self) -> tuple[Part, ...]:
        content = self.content or self.refusal or ""
        if isinstance(content, str):
            return (TextPart(content),) if content else ()
        return tuple(_part(part) for part in content)


def _part(part: TextContent | ImageContent | RefusalContent) -> Part:
    if isinstance(part, ImageContent):
        return ImagePart(part.image_url.url)
    return TextPart(part.text if isinstance(part, TextContent) else part.refusal)


class CompletionMetadata(_Body):
    """What the client says about the request."""

    conversation_id: Line | None = None
    """The conversation that the request belongs to; absent: the one that `user` names."""


class StreamOptions(_Body):
    """How the stream is to be."""

    include_usage: StrictBool | None = None
    """Whether token counts come at its end."""


class TextFormat(_Body):
    """Any text."""

    type: Literal["text"]

    def format(self) -> None:
        """Nothing in particular."""


class JsonObjectFormat(_Body):
    """A JSON object, as `messages` ask for it. Anthropic's models take a schema alone."""

    type: Literal["json_object"]

    def format(self) -> ReplyFormat:
        return ReplyFormat()


class JsonSchema(_Body):
    """A JSON Schema, which goes to the provider as it is."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    """What it is called."""
    description: StrictStr | None = None
    """What it is for."""
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: StrictBool | None = None
    """Whether the model must keep to it, where the provider leaves the choice."""


class JsonSchemaFormat(_Body):
    """JSON as a schema says."""

    type: Literal["json_schema"]
    json_schema: JsonSchema

    def format(self) -> ReplyFormat:
        schema = self.json_schema
        return ReplyFormat(schema.schema_, schema.name, schema.description, schema.strict)


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
StopText = Annotated[StrictStr, Field(min_length=1, max_length=MAX_STOP_CHARS)]
StopTexts = Annotated[tuple[StopText, ...], Field(max_length=MAX_STOPS), BeforeValidator(_texts), WithJsonSchema(_TEXTS)]
TokenLimit = Annotated[int, Field(strict=True, ge=1), BeforeValidator(whole_number)]


class CompletionBody(_Body):
    """What POST /v1/chat/completions takes. Other parameters of OpenAI's are ignored."""

    model: Annotated[StrictStr, Field(min_length=1, max_length=300)]
    """As GET /v1/models names it, or without its provider."""
    messages: Annotated[list[CompletionMessage], Field(min_length=1, max_length=MAX_ENTRIES)]
    """The whole history, newest last."""
    stream: StrictBool | None = None
    """Whether the reply comes as it is written."""
    stream_options: StreamOptions | None = None
    max_completion_tokens: TokenLimit | None = None
    """At most this many tokens of reply; the server has a bound of its own."""
    max_tokens: TokenLimit | None = None
    """The older name of `max_completion_tokens`."""
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    """Left out where a model takes none."""
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    """Functions of the client's that the model may call."""
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | None = None
    """Whether the model may, must not or must call a tool, or which one it must call."""
    metadata: CompletionMetadata | None = None
    user: Annotated[str | None, BeforeValidator(_name_or_nothing), WithJsonSchema({"type": ["string", "null"]})] = None
    """The conversation that the request belongs to, where `metadata` names none: 1 to 200 characters without control characters.
    Absent, or another caller's: the one whose reply stands in `messages`, or a new one."""
    n: Annotated[Any, *_only(1)] = None
    """One choice is given."""
    stop: StopTexts = ()
    """Texts before the first of which the reply ends. OpenAI's reasoning models take none."""
    response_format: ResponseFormat | None = None
    """What the reply is to be; absent: text."""
    logprobs: Annotated[Any, *_only(False)] = None
    """Not supported."""
    top_logprobs: Annotated[Any, *_only(0)] = None
    """Not supported."""
    logit_bias: Annotated[Any, *_only({})] = None
    """Not supported."""
    modalities: Annotated[Any, *_only(["text"])] = None
    """Text is given."""
    audio: Annotated[Any, *_only()] = None
    """Not supported."""
    functions: Annotated[Any, *_only([])] = None
    """Not supported; use `tools`."""
    function_call: Annotated[Any, *_only()] = None
    """Not supported; use `tool_choice`."""
    web_search_options: Annotated[Any, *_only()] = None
    """Not supported."""

    @model_validator(mode="after")
    def _chooses_a_tool_that_is_there(self) -> "CompletionBody":
        if isinstance(self.tool_choice, NamedChoice) and self.tool_choice.chosen() not in {
            tool.spec().name for tool in self.tools or ()
        }:
            raise ValueError("tool_choice names a tool that is not among tools")
        return self


@dataclass(frozen=True, slots=True)
class Completion:
    """A parsed request; `usage`: token counts at the stream's end. The request has no provider yet, `model` says whose.

    `user` names its conversation if nothing else in it does.
    """

    request: ChatRequest
    model: str
    streamed: bool
    usage: bool
    user: str | None


def parse_completion(body: bytes) -> Completion:
    """Raises `GatewayError`: `invalid_json`, `invalid_request`."""
    try:
        value = loads(body)
    except ValueError:
        raise GatewayError("invalid_json", "The body is not JSON.") from None
    try:
        parsed = CompletionBody.model_validate(value)
    except ValidationError as error:
        raise invalid(error) from None
    usage = parsed.stream_options is not None and bool(parsed.stream_options.include_usage)
    return Completion(_request(parsed, _hash(value)), parsed.model, bool(parsed.stream), usage, parsed.user)


def _hash(value: dict[str, Any]) -> str:
    """The same for the stream of a reply and for the whole of it, so that one can be had after the other."""
    return hash_of({name: given for name, given in value.items() if name not in _HOW_ASKED})


def _request(body: CompletionBody, body_hash: str) -> ChatRequest:
    tools = tuple(tool.spec() for tool in body.tools or ())
    return ChatRequest(
        body_hash=body_hash,
        conversation_id=body.metadata.conversation_id if body.metadata else None,
        message=None,
        entries=tuple(message.entry() for message in body.messages),
        tools=tools,
        tool_choice=tool_choice(body.tool_choice) if tools else None,
        system_prompt=None,
        provider=None,
        model=None,
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        format=body.response_format.format() if body.response_format else None,
        stop=body.stop,
    )
