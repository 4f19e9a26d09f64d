"""What is answered to clients of OpenAI's format, as models; see `schemas.py`."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from gateway.web import examples_openai as examples
from gateway.web.schemas import AnswerModel, Count

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class CalledFunction(AnswerModel):
    """A function and its arguments, a JSON text."""

    name: str
    arguments: str


class CompletionCall(AnswerModel):
    """A call of one of the client's tools."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChunkCall(CompletionCall):
    """A whole call; `index` is its place among the reply's calls."""

    index: Count


class UrlCitation(AnswerModel):
    """A source; the indices say behind how many characters of the reply it was named."""

    url: str
    title: str
    start_index: Count
    end_index: Count


class Annotation(AnswerModel):
    """A citation."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class ChunkAnnotation(Annotation):
    """A citation; `index` is its place among the reply's."""

    index: Count


class CompletionMessageAnswer(AnswerModel):
    """What the model answered."""

    role: Literal["assistant"]
    content: str | None
    """Null where there are calls and no text."""
    refusal: None
    """A refusal's text stands in `content`, with the finish reason `content_filter`."""
    tool_calls: list[CompletionCall] | None = None
    reasoning_content: str | None = None
    """The model's reasoning, where the provider gives it."""
    annotations: list[Annotation] | None = None


class CompletionChoice(AnswerModel):
    """The reply; there is always one."""

    index: Literal[0]
    message: CompletionMessageAnswer
    logprobs: None
    finish_reason: FinishReason
    """`length` also where the reply was stopped; `error` where the provider gave up without saying that the call failed."""


class CompletionUsage(AnswerModel):
    """Token counts; all input and all output, cached and reasoning tokens included."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: dict[Literal["cached_tokens", "cache_write_tokens"], Count] | None = None
    completion_tokens_details: dict[Literal["reasoning_tokens"], Count] | None = None
    cost: Annotated[float, Field(ge=0)] | None = None
    """In US dollars, where the model's price is known."""


class ChatCompletion(AnswerModel):
    """A whole reply."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPLETION]})

    id: str
    """The turn's id behind `chatcmpl-`."""
    object: Literal["chat.completion"]
    created: Count
    model: str
    """Who answered, as GET /v1/models names it."""
    choices: Annotated[list[CompletionChoice], Field(min_length=1, max_length=1)]
    usage: CompletionUsage | None
    """Null where the provider gave no counts."""
    conversation_id: str
    simulated: Literal[True] | None = None
    """Stands in replies of the built-in simulator."""
    cached: Literal[True] | None = None
    """The reply was given before, to the same question; all token counts and the cost are 0."""


class Delta(AnswerModel):
    """What is new."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: Any = None
    reasoning_content: str | None = None
    tool_calls: list[ChunkCall] | None = None
    annotations: list[ChunkAnnotation] | None = None


class ChunkChoice(AnswerModel):
    """A piece of the reply."""

    index: Literal[0]
    delta: Delta
    logprobs: None
    finish_reason: FinishReason | None


class ChatCompletionChunk(AnswerModel):
    """A piece of a reply. The first one has the role, the last but one the finish reason, the last one (if asked for) the
    token counts and no choice."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHUNK]})

    id: str
    object: Literal["chat.completion.chunk"]
    created: Count
    model: str
    choices: Annotated[list[ChunkChoice], Field(max_length=1)]
    usage: CompletionUsage | Any = None
    """Null in all chunks but the last; absent unless `stream_options` asks for it."""
    conversation_id: str | None = None
    """In the first chunk."""
    simulated: Literal[True] | None = None
    cached: Literal[True] | None = None
    """Beside the finish reason."""


class Model(AnswerModel):
    """A model that may be asked for."""

    id: str
    """The provider's name, a slash, the model's own name."""
    object: Literal["model"]
    created: Literal[0]
    """Not known here."""
    owned_by: str


class ModelList(AnswerModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class OpenAIErrorDetails(AnswerModel):
    """What went wrong; `param` is the place in the request, `code` OpenAI's word for it, or the gateway's own."""

    message: str
    type: Literal["invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class OpenAIError(AnswerModel):
    """An error as OpenAI's clients read it, in an answer or in a stream that has begun."""

    error: OpenAIErrorDetails
