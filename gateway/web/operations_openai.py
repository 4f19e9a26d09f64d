"""The operations for clients of OpenAI's format."""

from typing import Final

from gateway.web import examples_openai as examples
from gateway.web import schemas_openai as schemas
from gateway.web.openai_body import CompletionBody
from gateway.web.operation import REQUEST_ERRORS, TURN_ERRORS, Answer, Operation

OPENAI: Final = (
    Operation(
        "post",
        "/v1/chat/completions",
        "createCompletion",
        "openai",
        "Ask, in OpenAI's format",
        "The same turns as POST /chat and /chat/stream make, for clients of OpenAI's Chat Completions. Parameters that are not "
        "named here are ignored. With `stream`, chunks come as server-sent events; the last is `[DONE]`, or an error object and "
        "no `[DONE]`. Repeated with `Last-Event-ID` or the same `Idempotency-Key`, it goes on with the same turn.",
        (
            Answer(
                200,
                "The reply, or with `stream` its chunks. The contents of all deltas joined are the reply.",
                schemas.ChatCompletion,
                headers=("X-Turn-Id",),
                streamed=schemas.ChatCompletionChunk,
            ),
            Answer(204, "The event named by `Last-Event-ID` was the last one.", media=None),
        ),
        REQUEST_ERRORS,
        parameters=("Idempotency-Key", "Last-Event-ID", "Cache-Control"),
        body=CompletionBody,
        body_examples=examples.REQUESTS,
        limited=True,
        openai=True,
    ),
    Operation(
        "get",
        "/v1/chat/completions/{completion_id}",
        "getCompletion",
        "openai",
        "Read a reply again",
        "Waits until it is whole. For a client whose stream broke; good for as long as the conversation is stored.",
        (Answer(200, "The reply.", schemas.ChatCompletion, headers=("X-Turn-Id",)),),
        (*TURN_ERRORS, "provider_error", "provider_rejected", "provider_overloaded", "provider_timeout", "interrupted"),
        parameters=("completion_id",),
        limited=True,
        openai=True,
    ),
    Operation(
        "get",
        "/v1/models",
        "listModels",
        "openai",
        "List models",
        "Every model of every provider that has a key here.",
        (Answer(200, "The models.", schemas.ModelList),),
        openai=True,
    ),
    Operation(
        "get",
        "/v1/models/{model}",
        "getModel",
        "openai",
        "Read a model",
        "By its name in the list, or without its provider.",
        (Answer(200, "The model.", schemas.Model),),
        ("unknown_model", "not_found"),
        parameters=("model",),
        openai=True,
    ),
)
