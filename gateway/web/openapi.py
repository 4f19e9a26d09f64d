"""The OpenAPI 3.1 document, made once of the models that validate requests and describe answers.

https://spec.openapis.org/oas/v3.1.1.html
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from gateway import __version__
from gateway.core.errors import KINDS, ErrorCode, GatewayError
from gateway.core.jsontext import dumps_text
from gateway.web import examples, examples_openai, schemas, schemas_openai
from gateway.web.operation import HEADERS, JSON, PARAMETERS, SSE, Answer, Operation
from gateway.web.operations import OPERATIONS, TAGS
from gateway.wire.frames import END, RETRY_MS
from gateway.wire.openai_chunks import error_body, error_status

PROBLEM_JSON: Final = "application/problem+json"
_ABOUT: Final = """A chat gateway between an app and OpenAI, Anthropic, Groq and Google Gemini: one request format, one stream
format, every turn logged.

Errors are problem objects (RFC 9457), under `/v1` error objects as OpenAI's; `code` says exactly what went wrong. Fields that
this document does not name may be added to answers: ignore them. Where nobody has to show a token (open mode), the security
schemes do not apply."""
_CALLER_ERRORS: Final[tuple[ErrorCode, ...]] = ("unauthenticated", "forbidden")

_STREAM_EVENTS: Final[Mapping[str, tuple[type[BaseModel], str]]] = {
    "start": (schemas.StreamStart, "The first event, always."),
    "token": (schemas.StreamText, "A piece of the reply."),
    "thought": (schemas.StreamText, "A piece of the model's reasoning."),
    "tool_call": (schemas.ToolCall, "One whole call of a client's tool, as soon as it is whole."),
    "source": (schemas.Source, "A citation."),
    "status": (schemas.StreamStatus, "What the gateway is doing: another try, or another provider."),
    "done": (schemas.ChatReply, "The last event of a completed or stopped turn: what POST /chat would have answered."),
    "failed": (schemas.StreamFailure, "The last event of a failed or interrupted turn."),
}

_RATE_HEADERS: Final = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


class _Incoming(GenerateJsonSchema):
    """Without a title on every field, nor a default for what may be left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"]) if schema.get("default", ...) is None else super().default_schema(schema)


class _NeverNull(_Incoming):
    """A default of None stands for what is left out; it is never null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        if schema.get("default", ...) is None and inner["type"] == "nullable":
            return self.generate_inner(inner["schema"])
        return super().default_schema(schema)


def build_document() -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {"title": "m3ajem gateway", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": _component_schemas(),
            "headers": dict(HEADERS),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, a token that this server issued at sign-in, or the admin's token.",
                },
                "basic": {"type": "http", "scheme": "basic", "description": "Any user name, with the admin's token as password."},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    errors = tuple(dict.fromkeys((*operation.errors, *(() if operation.public else _CALLER_ERRORS), "internal_error")))
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "responses": {
            **{str(answer.status): _answer(answer, limited=operation.limited) for answer in operation.answers},
            **_problems((*errors, "rate_limited") if operation.limited else errors, operation),
        },
        "security": [] if operation.public else [{"bearer": []}, {"basic": []}],
    }
    parameters = [PARAMETERS[name] for name in operation.parameters] + (_query(operation.query) if operation.query else [])
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        content = {"schema": _ref(operation.body)} | ({"examples": given} if (given := operation.body_examples) else {})
        found["requestBody"] = {"required": operation.body_required, "content": {JSON: content}}
    return found


def _answer(answer: Answer, *, limited: bool) -> dict[str, Any]:
    names = ("X-Request-Id", *answer.headers, *(_RATE_HEADERS if limited else ()))
    found: dict[str, Any] = {"description": answer.description, "headers": _headers(names)}
    if answer.media == SSE:
        content = {"schema": {"$ref": "#/components/schemas/StreamEvent"}, "example": _stream_text()}
        found["content"] = {SSE: content}
    elif answer.media is not None:
        kind = "object" if answer.media == JSON else "string"
        found["content"] = {answer.media: {"schema": {"type": kind} if answer.schema is None else _ref(answer.schema)}}
    if answer.streamed is not None:
        found["content"][SSE] = {"schema": _chunk_event(answer.streamed), "example": examples_openai.STREAM}
    return found


def _chunk_event(chunk: type[BaseModel]) -> dict[str, Any]:
    """One server-sent event as OpenAI's clients read it."""
    said = {"contentMediaType": JSON, "contentSchema": {"anyOf": [_ref(chunk), _ref(schemas_openai.OpenAIError)]}}
    data = {"type": "string", "anyOf": [said, {"const": "[DONE]"}]}
    return {"type": "object", "required": ["data"], "properties": {"id": {"type": "string"}, "data": data}}


def _problems(codes: Iterable[ErrorCode], operation: Operation) -> dict[str, Any]:
    """One response a status, with an example for each code that it may carry."""
    by_status: defaultdict[int, list[ErrorCode]] = defaultdict(list)
    for code in codes:
        status = KINDS[code].status
        by_status[error_status(code, status) if operation.openai else status].append(code)
    return {str(status): _problem(by_status[status], operation) for status in sorted(by_status)}


def _problem(codes: list[ErrorCode], operation: Operation) -> dict[str, Any]:
    names = ["X-Request-Id"]
    if "unauthenticated" in codes:
        names.append("WWW-Authenticate")
    if any(KINDS[code].status in (429, 503) for code in codes):
        names.append("Retry-After")
    if operation.limited and any(KINDS[code].status == 429 for code in codes):
        names.extend(_RATE_HEADERS)
    return {
        "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes) + ".",
        "headers": _headers(names),
        "content": {JSON: _openai_content(codes)} if operation.openai else {PROBLEM_JSON: _problem_content(codes)},
    }


def _openai_content(codes: list[ErrorCode]) -> dict[str, Any]:
    shown = {code: {"summary": KINDS[code].title, "value": _openai_example(code)} for code in codes}
    return {"schema": _ref(schemas_openai.OpenAIError), "examples": shown}


def _openai_example(code: ErrorCode) -> dict[str, Any]:
    return error_body(GatewayError(code, f"{KINDS[code].title}."))


def _problem_content(codes: list[ErrorCode]) -> dict[str, Any]:
    return {
        "schema": {"allOf": [_ref(schemas.Problem), {"properties": {"code": {"enum": codes}}}]},
        "examples": {code: {"summary": KINDS[code].title, "value": _example_of(code)} for code in codes},
    }


def _example_of(code: ErrorCode) -> dict[str, Any]:
    kind = KINDS[code]
    problem = {"type": f"urn:problem:{code}", "title": kind.title, "status": kind.status, "detail": f"{kind.title}."}
    return problem | {"code": code, "request_id": examples.FAILURE["request_id"]}


def _stream_event() -> dict[str, Any]:
    """One server-sent event; its data is JSON."""
    return {
        "title": "StreamEvent",
        "description": "A server-sent event. `data` is JSON; the id of an event names its place in the stream.",
        "oneOf": [_one_event(name, model, text) for name, (model, text) in _STREAM_EVENTS.items()],
    }


def _one_event(name: str, model: type[BaseModel], text: str) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": _ref(model)}
    properties = {"event": {"const": name}, "id": {"type": "string"}, "retry": {"type": "integer"}, "data": data}
    return {
        "type": "object",
        "description": text,
        "required": ["event", "id", "data"],
        "properties": properties,
        "examples": [{"event": name, "id": _event_id(name), "data": dumps_text(examples.EVENTS[name])}],
    }


def _event_id(name: str) -> str:
    """The id of an example."""
    places = {"start": "0", "done": END, "failed": END}
    return f"{examples.TURN_ID}.{places[name]}" if name in places else examples.EVENT_ID


def _stream_text() -> str:
    """A short stream from its first event to its last."""
    content, cut = examples.REPLY["content"], len(examples.EVENTS["token"]["text"])
    frames = [f"retry: {RETRY_MS}\n" + _frame("start", "0", examples.EVENTS["start"])]
    frames.append(_frame("token", str(cut), {"text": content[:cut]}))
    frames.append(_frame("token", str(len(content)), {"text": content[cut:]}))
    frames.append("retry: 0\n" + _frame("done", END, examples.REPLY))
    return "".join(frames)


def _frame(event: str, place: str, data: dict[str, Any]) -> str:
    return f"id: {examples.TURN_ID}.{place}\nevent: {event}\ndata: {dumps_text(data)}\n\n"


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    properties = model.model_json_schema(schema_generator=_NeverNull)["properties"]
    return [
        {"name": name, "in": "query", "description": schema.pop("description"), "allowEmptyValue": True, "schema": schema}
        for name, schema in properties.items()
    ]


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _component_schemas() -> dict[str, Any]:
    bodies = {operation.body for operation in OPERATIONS if operation.body is not None}
    answers = {answer.schema for operation in OPERATIONS for answer in operation.answers if answer.schema is not None}
    answers |= {answer.streamed for operation in OPERATIONS for answer in operation.answers if answer.streamed is not None}
    answers |= {model for model, _ in _STREAM_EVENTS.values()} | {schemas.Problem, schemas_openai.OpenAIError}
    incoming = _definitions(bodies, _Incoming)
    outgoing = _definitions(answers, _NeverNull)
    for schema in outgoing.values():
        # Tests hold answers to exactly these fields; clients must bear new ones.
        schema.pop("additionalProperties", None)
    assert not incoming.keys() & outgoing.keys(), "two models of one name"
    return dict(sorted((incoming | outgoing | {"StreamEvent": _stream_event()}).items()))


def _definitions(models: Iterable[type[BaseModel]], generator: type[GenerateJsonSchema]) -> dict[str, Any]:
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template="#/components/schemas/{model}",
        schema_generator=generator,
    )
    definitions: dict[str, Any] = found["$defs"]
    return definitions
