"""Anthropic Messages, as anthropic-sdk-python 2.12 types it and recordings show it."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from simulator.answer import Answer, Ask, Source, Tool
from simulator.formats.base import (
    Format,
    Incoming,
    Problem,
    RefusedError,
    Reply,
    bearer,
    cut,
    dumps,
    new_id,
    refused_key,
    unknown_model,
)
from simulator.formats.chat import text_of
from simulator.rules.anthropic import VERSIONS, check
from simulator.script import directive, without_directive
from simulator.signatures import sign

_FINISH = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "blocked": "refusal"}
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MESSAGES = {
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the Anthropic API.",
    413: "Request exceeds the maximum size",
    429: "This request would exceed the rate limit for your organization of 20,000 input tokens per minute.",
    500: "Internal server error",
    529: "Overloaded",
}
_STATUS = {kind: status for status, kind in _TYPES.items()}


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The key of the `x-api-key` header, or of `Authorization: Bearer` (what the vendor's clients send since 2.0)."""
    return headers.get("x-api-key", "").strip() or bearer(headers, query)


def check_key(key: str, headers: Mapping[str, str]) -> None:
    """Raise `RefusedError`: 401 without a key or with a wrong one, 400 without a known version header."""
    if not key:
        raise RefusedError(401, "x-api-key header is required")
    if refused_key(key):
        raise RefusedError(401, "invalid x-api-key")
    version = headers.get("anthropic-version")
    if not version:
        raise RefusedError(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise RefusedError(400, f'anthropic-version: "{version}" is not a valid version')


def read(incoming: Incoming) -> Ask:
    """Read a Messages request."""
    body = incoming.body
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError(400, "model: Field required")
    check(body, incoming.headers["anthropic-version"])
    if unknown_model(model):
        raise RefusedError(404, f"model: {model}")
    said, results = _latest(body["messages"])
    choice = body.get("tool_choice") or {}
    modes: dict[str, Literal["none", "required"]] = {"none": "none", "any": "required", "tool": "required"}
    return Ask(
        provider="anthropic",
        model=model,
        stream=bool(body.get("stream")),
        question=without_directive(said),
        directive=directive(said),
        results=results,
        tools=tuple(Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or () if "input_schema" in tool),
        choice=modes.get(choice.get("type", ""), "auto"),
        forced=choice.get("name"),
        max_tokens=body["max_tokens"],
        input_tokens=incoming.tokens,
        options=body,
    )


def _latest(messages: list[dict[str, Any]]) -> tuple[str, tuple[str, ...]]:
    """Return the last user text and the tool results at the very end; a directive goes on counting through a tool round."""
    said = ""
    for message in reversed(messages):
        if message["role"] == "user" and (said := text_of(message["content"])):
            break
    content = messages[-1]["content"]
    blocks = content if isinstance(content, list) else []
    results = [block for block in blocks if block["type"] == "tool_result"]
    return said, tuple(text_of(block.get("content")) for block in results)


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer, streamed or whole."""
    blocks = _blocks(ask, answer)
    message = {
        "model": ask.model,
        "id": new_id("msg_sim", 22),
        "type": "message",
        "role": "assistant",
        "content": [] if ask.stream else blocks,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": _usage_at_start(answer) if ask.stream else _usage(answer),
    }
    if not ask.stream:
        return Reply(200, head(False), [dumps({**message, **_stop(answer)})])
    pieces = [_event("message_start", {"message": message})]
    for index, block in enumerate(blocks):
        pieces += _block_events(index, block, answer)
    ending = [_event("message_stop", {})]
    if answer.finish != "none":
        ending.insert(0, _event("message_delta", {"delta": _stop(answer), "usage": _usage(answer)}))
    return Reply(200, head(True), pieces + ending, streamed=True, closing=len(ending))


def _blocks(ask: Ask, answer: Answer) -> list[dict[str, Any]]:
    """The content blocks in their order: reasoning, search, text, calls."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        thinking = "".join(answer.reasoning)
        omitted = (ask.options.get("thinking") or {}).get("display") == "omitted"
        shown = "" if omitted else thinking
        blocks.append({"type": "thinking", "thinking": shown, "signature": sign(shown)})
    blocks += _search(answer.sources)
    if answer.text:
        text: dict[str, Any] = {"type": "text", "text": "".join(answer.text)}
        if answer.sources:
            text["citations"] = [_citation(source) for source in answer.sources]
        blocks.append(text)
    for call in answer.calls:
        blocks.append({"type": "tool_use", "id": new_id("toolu_sim", 22), "name": call.name, "input": call.arguments})
    return blocks


def _search(sources: tuple[Source, ...]) -> list[dict[str, Any]]:
    if not sources:
        return []
    call_id = new_id("srvtoolu_sim", 22)
    found = [
        {"type": "web_search_result", "title": source.title, "url": source.url, "encrypted_content": "c2lt", "page_age": None}
        for source in sources
    ]
    return [
        {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {"query": "معجم"}},
        {"type": "web_search_tool_result", "tool_use_id": call_id, "content": found},
    ]


def _citation(source: Source) -> dict[str, Any]:
    where = {"url": source.url, "title": source.title, "encrypted_index": "c2lt"}
    return {"type": "web_search_result_location", "cited_text": "نصٌّ مُحاكًى", **where}


def _block_events(index: int, block: dict[str, Any], answer: Answer) -> list[bytes]:
    """The events of one block, each with its own piece; start and stop go with the first and last delta."""
    kind = block["type"]
    started, events = block, list[bytes]()
    if kind == "thinking":
        started = {"type": kind, "thinking": "", "signature": ""}
        events = _deltas(index, "thinking_delta", "thinking", answer.reasoning if block["thinking"] else ())
        events += _deltas(index, "signature_delta", "signature", (block["signature"],))
    elif kind == "text":
        started = {"type": kind, "text": ""}
        events = _deltas(index, "text_delta", "text", answer.text)
        events += _deltas(index, "citations_delta", "citation", block.get("citations", ()))
    elif kind in ("tool_use", "server_tool_use"):
        started = {**block, "input": {}}
        parts = cut(dumps(block["input"]).decode()) if block["input"] else []
        events = _deltas(index, "input_json_delta", "partial_json", ("", *parts))
    events = events or [b""]
    events[0] = _event("content_block_start", {"index": index, "content_block": started}) + events[0]
    if index == 0:
        events[0] += _event("ping", {})
    events[-1] += _event("content_block_stop", {"index": index})
    return events


def _deltas(index: int, kind: str, field: str, values: Iterable[Any]) -> list[bytes]:
    start = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":' % (
        index,
        kind.encode(),
        field.encode(),
    )
    return [start + dumps(value) + b"}}\n\n" for value in values]


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + dumps({"type": kind, **data}) + b"\n\n"


def _stop(answer: Answer) -> dict[str, Any]:
    reason = None if answer.finish == "none" else _FINISH.get(answer.finish, answer.finish)
    details = {"type": "refusal", "category": None, "explanation": "رفضٌ مُحاكًى"} if reason == "refusal" else None
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}


def _usage_at_start(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        **_usage_at_start(answer),
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
    }


def _body(problem: Problem) -> dict[str, Any]:
    kind = problem.code or _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "api_error")
    message = problem.message or _MESSAGES.get(_STATUS.get(kind, problem.status)) or "The request failed"
    return {"type": "error", "error": {"details": None, "type": kind, "message": message}, "request_id": new_id("req_sim", 22)}


def error(problem: Problem) -> bytes:
    """Write a problem as an error body."""
    return dumps(_body(problem))


def stream_error(problem: Problem, bare: bool) -> bytes:
    """Write a problem into a stream: `event: error`, after which neither message_delta nor message_stop comes."""
    body = dumps(_body(problem))
    return body + b"\n" if bare else b"event: error\ndata: " + body + b"\n\n"


def head(streamed: bool) -> dict[str, str]:
    """The headers of a reply."""
    kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
    return {"Content-Type": kind, "request-id": new_id("req_sim", 22)}


FORMAT = Format("anthropic", "anthropic", key_of, check_key, read, reply, error, stream_error, head, failing_status=529)
