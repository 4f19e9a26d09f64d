"""OpenAI Chat Completions, as openai-python 3.54 types it and recordings show it."""

import time
from collections.abc import Mapping
from typing import Any

from simulator.answer import Answer, Ask, Source
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
)
from simulator.formats.chat import read_chat
from simulator.rules.openai import check, is_reasoning

FINISH = {"refusal": "stop", "blocked": "content_filter"}
_MESSAGES = {
    401: "Incorrect API key provided: sim-*****. You can find your API key at https://platform.openai.com/account/api-keys.",
    403: "You are not allowed to use this resource.",
    404: "The model does not exist or you do not have access to it.",
    429: "Rate limit reached for the model in organization org-sim on tokens per min (TPM). Please try again later.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "The engine is currently overloaded, please try again later.",
}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_TYPES = {429: "tokens", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def check_key(key: str, _headers: Mapping[str, str]) -> None:
    """Raise `RefusedError` (401) without a key or with a wrong one."""
    if not key:
        text = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth."
        raise RefusedError(401, text, code="invalid_api_key")
    if refused_key(key):
        raise RefusedError(401, _MESSAGES[401], code="invalid_api_key")


def read(incoming: Incoming) -> Ask:
    """Read a chat request."""
    return read_chat(incoming, "openai", check)


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer, streamed or whole."""
    base = {
        "id": new_id("chatcmpl-sim", 22),
        "object": "chat.completion.chunk" if ask.stream else "chat.completion",
        "created": int(time.time()),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    if not ask.stream:
        return Reply(200, head(False), [_whole(base, ask, answer)])
    return _stream(base, ask, answer)


def _whole(base: dict[str, Any], ask: Ask, answer: Answer) -> bytes:
    refused = answer.finish == "refusal"
    text = "".join(answer.text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or answer.calls else text,
        "refusal": text if refused else None,
        "annotations": annotations(answer.sources, text),
    }
    if answer.calls:
        message["tool_calls"] = [tool_call(new_id("call_"), call.name, dumps(call.arguments).decode()) for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
    return dumps({**base, "choices": [choice], "usage": usage(answer, is_reasoning(ask.model))})


def _stream(base: dict[str, Any], ask: Ask, answer: Answer) -> Reply:
    options: dict[str, Any] = ask.options.get("stream_options") or {}
    with_usage = bool(options.get("include_usage"))
    pad = b"" if options.get("include_obfuscation") is False else b',"obfuscation":"simulated"'
    start = b"data: " + dumps(base)[:-1]
    opening = start + b',"choices":[{"index":0,"delta":'
    middle = b',"logprobs":null,"finish_reason":'
    ending = b"}]" + (b',"usage":null' if with_usage else b"") + pad + b"}\n\n"
    tail = middle + b"null" + ending

    field = b'{"refusal":' if answer.finish == "refusal" else b'{"content":'
    first = {"role": "assistant", "content": None if answer.calls or field != b'{"content":' else "", "refusal": None}
    pieces = [opening + dumps(first) + tail]
    if answer.calls:
        deltas = [delta for index, call in enumerate(answer.calls) for delta in call_deltas(index, call.name, call.arguments)]
        pieces += [opening + dumps(delta) + tail for delta in deltas]
    else:
        pieces += [opening + field + dumps(text) + b"}" + tail for text in answer.text]
    if answer.sources:
        cited = {"annotations": annotations(answer.sources, "".join(answer.text))}
        pieces.append(opening + dumps(cited) + tail)
    body = len(pieces)
    if (finish := finish_reason(answer)) is not None:
        pieces.append(opening + b"{}" + middle + dumps(finish) + ending)
    if with_usage:
        counts = dumps(usage(answer, is_reasoning(ask.model)))
        pieces.append(start + b',"choices":[],"usage":' + counts + pad + b"}\n\n")
    pieces.append(b"data: [DONE]\n\n")
    return Reply(200, head(True), pieces, streamed=True, closing=len(pieces) - body)


def call_deltas(index: int, name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The deltas of one tool call: id and name first, then the arguments in fragments."""
    opening = {"index": index, **tool_call(new_id("call_"), name, "")}
    rest = [{"index": index, "function": {"arguments": part}} for part in cut(dumps(arguments).decode())]
    return [{"tool_calls": [part]} for part in (opening, *rest)]


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """One tool call of a message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def annotations(sources: tuple[Source, ...], text: str) -> list[dict[str, Any]]:
    """Citations, the way the search models gave them."""
    return [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": len(text), "title": source.title, "url": source.url},
        }
        for source in sources
    ]


def finish_reason(answer: Answer) -> str | None:
    """The finish reason; None where a script wants none."""
    return None if answer.finish == "none" else FINISH.get(answer.finish, answer.finish)


def usage(answer: Answer, reasoning: bool) -> dict[str, Any]:
    """Token counts; reasoning tokens are part of the completion's."""
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens if reasoning else 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def error(problem: Problem) -> bytes:
    """Write a problem as an error body."""
    return dumps({"error": error_object(problem)})


def error_object(problem: Problem) -> dict[str, Any]:
    """Write a problem as an error."""
    kind = _TYPES.get(problem.status, "invalid_request_error")
    message, code = problem.message or _MESSAGES.get(problem.status), problem.code or _CODES.get(problem.status)
    if problem.code == "insufficient_quota":
        kind, message = "insufficient_quota", problem.message or _QUOTA
    message = message or f"The request failed with status {problem.status}."
    return {"message": message, "type": kind, "param": problem.param, "code": code}


def stream_error(problem: Problem, bare: bool) -> bytes:
    """Write a problem into a stream: a data frame with an error object, after which nothing more comes."""
    body = error(problem)
    return body + b"\n" if bare else b"data: " + body + b"\n\n"


def head(streamed: bool) -> dict[str, str]:
    """The headers of a reply."""
    kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
    return {"Content-Type": kind, "x-request-id": new_id("req_", 32), "openai-version": "2020-10-01"}


FORMAT = Format("openai", "openai", bearer, check_key, read, reply, error, stream_error, head)
