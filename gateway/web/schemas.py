"""What the server answers, as models: the OpenAPI document is made of them, and tests hold real answers against them. Here
turns, streams, problems and the log.

A default of None stands for a field that is left out where it does not apply; such a field is never null.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.errors import ErrorCode
from gateway.core.events import FinishReason
from gateway.core.turn import TurnStatus
from gateway.web import examples

ProviderName = Annotated[str, Field(examples=["openai", "anthropic", "groq", "google"])]
"""One of the gateway's own four, or one that the operator named in PROVIDERS."""
Count = Annotated[int, Field(ge=0)]


class AnswerModel(BaseModel):
    """Unknown fields are refused here, so that no answer says more than the document; clients should ignore them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ToolCall(AnswerModel):
    """A call of one of the client's tools."""

    id: str
    name: str
    arguments: dict[str, Any]
    arguments_text: str | None = None
    """What the model wrote where it was no JSON object; `arguments` is then `{}`."""


class Thought(AnswerModel):
    """A stretch of the model's reasoning, where the provider gives it. All contents joined are the whole reasoning."""

    iteration: Annotated[int, Field(ge=1)]
    content: str
    tool_calls: list[str]
    """Names of the tools it led to."""
    timestamp: Count
    """When it began, in Unix milliseconds."""


class Source(AnswerModel):
    """A citation."""

    id: str
    type: str
    """The provider's own kind, such as `web` or `url_citation`."""
    title: str | None
    url: str | None
    snippet: str | None
    description: str | None


class Usage(AnswerModel):
    """Token counts; null where the provider gave none."""

    input_tokens: Count | None
    """All input, tokens read from and written to a cache included."""
    output_tokens: Count | None
    """All output, reasoning included."""
    cached_tokens: Count | None
    """The part of the input that was read from a cache."""
    reasoning_tokens: Count | None
    """The part of the output that was reasoning."""
    cost_usd: Annotated[float, Field(ge=0)] | None
    """Null for a model with no known price."""


class Tried(AnswerModel):
    """A call that did not answer the turn."""

    provider: ProviderName
    model: str
    code: ErrorCode


class ChatReply(AnswerModel):
    """A whole reply; also the data of the event `done`."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.REPLY]})

    message_id: str | None
    """The id of the reply's row in the log; null while the database is away and the turn waits in the spool, and when the
    conversation was deleted meanwhile."""
    content: str
    tool_calls: list[ToolCall]
    thoughts: list[Thought]
    sources: list[Source]
    turn_id: str
    conversation_id: str
    provider: ProviderName
    model: str
    status: Literal["completed", "stopped"]
    finish_reason: FinishReason | None
    """Null for a stopped reply."""
    usage: Usage
    logged: Literal["stored", "spooled"]
    attempts: list[Tried] | None = None
    """What was tried before, in order; absent when the first call answered."""
    simulated: Literal[True] | None = None
    """Stands in replies of the built-in simulator."""
    cached: Literal[True] | None = None
    """The reply was given before, to the same question; all token counts and the cost are 0."""


class StreamStart(AnswerModel):
    """The data of `start`."""

    turn_id: str
    conversation_id: str
    provider: ProviderName
    model: str


class StreamText(AnswerModel):
    """The data of `token` and `thought`: a piece of text, to be appended."""

    text: str


class StreamStatus(AnswerModel):
    """The data of `status`: what the gateway is doing, for a user's eyes."""

    state: Literal["retrying", "switched"]
    provider: ProviderName
    model: str


class FieldError(AnswerModel):
    """One place of a request that is not valid."""

    loc: str
    """The path of the field, joined by dots; empty for the body as a whole."""
    msg: str


class Problem(AnswerModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    """One plain sentence that can be shown to the user."""
    code: ErrorCode
    request_id: str
    turn_id: str | None = None
    retry_after: Annotated[int, Field(ge=1)] | None = None
    """Seconds; the header Retry-After says the same."""
    errors: list[FieldError] | None = None


class StreamFailure(Problem):
    """The data of `failed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.FAILURE]})

    turn_id: str
    retryable: bool
    """Whether the same request may succeed later."""


class Stopping(AnswerModel):
    """A turn was asked to end; its stream says when it has."""

    turn_id: str
    status: Literal["stopping"]


class ListedConversation(AnswerModel):
    """A conversation in a list."""

    id: str
    provider: str | None
    created_at: datetime
    updated_at: datetime
    message_count: Count
    user_id: str | None
    """Whose it is; null for nobody in particular."""
    message_id: str | None = None
    """With `q`: the newest message that has the words."""
    snippet: str | None = None
    """With `q`: the part of that message with the words in it, as HTML: each found word between `<mark>` and `</mark>`, all else
    escaped."""


class ConversationPage(AnswerModel):
    """A page of conversations, newest activity first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PAGE]})

    conversations: list[ListedConversation]
    next_cursor: str | None
    """For the parameter `cursor` of the next page; null on the last one."""
    incomplete: Literal[True] | None = None
    """A search, while messages are still being taken into it; otherwise absent."""


class LoggedCall(AnswerModel):
    """A tool call in the log. `arguments` and `result` are JSON texts."""

    id: str
    tool_name: str | None
    arguments: str | None
    result: str | None
    """Null until the client has sent it."""


class LoggedError(AnswerModel):
    """Why a turn failed."""

    code: ErrorCode
    detail: str
    retryable: bool


class LoggedMessage(AnswerModel):
    """A message in the log. What only a reply has is null or empty for a question."""

    id: str
    role: str
    content: str | None
    timestamp: datetime | None
    """When the question came, or when the reply ended."""
    turn_id: str | None
    """Null for messages of an older server."""
    status: TurnStatus | None
    provider: str | None
    model: str | None
    finish_reason: FinishReason | None
    tool_calls: list[LoggedCall]
    thoughts: list[Thought]
    sources: list[Source]
    usage: Usage | None
    error: LoggedError | None
    cached: Literal[True] | None = None
    """The reply is that of another turn, which paid for it."""


class StoredConversation(AnswerModel):
    """A conversation with its messages, in order, as it is stored."""

    id: str
    provider: str | None
    created_at: datetime
    updated_at: datetime
    user_id: str | None
    messages: list[LoggedMessage]


class Conversation(StoredConversation):
    """A conversation with its messages, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CONVERSATION]})

    active_turns: list[str]
    """Turns whose reply is still being written; each can be read with GET /chat/stream/{turn_id}."""
