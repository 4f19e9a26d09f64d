"""Groq: OpenAI's chat format with its own reasoning, usage, sources and errors (groq-python 1.7, recordings)."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from simulator.answer import Answer, Ask
from simulator.formats.base import (
    Format,
    Incoming,
    Problem,
    RefusedError,
    Reply,
    bearer,
    dumps,
    escape_markup,
    new_id,
    refused_key,
)
from simulator.formats.chat import read_chat
from simulator.formats.openai import finish_reason, tool_call
from simulator.rules.groq import check

_MESSAGES = {
    401: "Invalid API Key",
    404: "The model does not exist or you do not have access to it.",
    413: "Request too large for model in organization org_sim service tier on_demand on tokens per minute (TPM)",
    429: "Rate limit reached for model in organization org_sim service tier on_demand on tokens per minute (TPM).",
    500: "Internal Server Error",
    503: "Service Unavailable: the model is over capacity, please try again later",
}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 413: "rate_limit_exceeded", 429: "rate_limit_exceeded"}
_TYPES = {413: "tokens", 429: "tokens", 500: "internal_server_error", 503: "internal_server_error"}


def check_key(key: str, _headers: Mapping[str, str]) -> None:
    """Raise `RefusedError` (401) without a key or with a wrong one."""
    if not key or refused_key(key):
        raise RefusedError(401, "Invalid API Key", code="invalid_api_key")


def read(incoming: Incoming) -> Ask:
    """Read a chat request."""
    return read_chat(incoming, "groq", check)


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer, streamed or whole."""
    base = {
        "id": new_id("chatcmpl-sim", 30),
        "object": "chat.completion.chunk" if ask.stream else "chat.completion",
        "created": int(time.time()),
        "model": ask.model,
        "system_fingerprint": "fp_simulated",
    }
    shown = _shown_reasoning(ask)
    if not ask.stream:
        return Reply(200, head(False), escape_markup([_whole(base, answer, shown)]))
    return _stream(base, answer, shown, "gpt-oss" in ask.model)


def _shown_reasoning(ask: Ask) -> str:
    """Return `parsed`, `raw` or `hidden`: in a field of its own, in the text between think tags, or not at all."""
    if ask.options.get("include_reasoning") is False:
        return "hidden"
    chosen = ask.options.get("reasoning_format")
    if chosen in ("parsed", "raw", "hidden"):
        return str(chosen)
    return "raw" if "qwen" in ask.model or "deepseek" in ask.model else "parsed"


def _whole(base: dict[str, Any], answer: Answer, shown: str) -> bytes:
    message: dict[str, Any] = {"role": "assistant"}
    reasoning = "".join(answer.reasoning)
    if not answer.calls:
        raw = f"<think>\n{reasoning}\n</think>\n\n" if reasoning and shown == "raw" else ""
        message["content"] = raw + "".join(answer.text)
    if reasoning and shown == "parsed":
        message["reasoning"] = reasoning
    if answer.calls:
        message["tool_calls"] = _calls(answer)
    if answer.sources:
        message["executed_tools"] = _executed(answer)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
    body = {**base, "choices": [choice], "usage": _usage(answer), "usage_breakdown": None, "x_groq": _x_groq()}
    return dumps(body)


def _stream(base: dict[str, Any], answer: Answer, shown: str, channels: bool) -> Reply:
    opening = b"data: " + dumps(base)[:-1] + b',"choices":[{"index":0,"delta":'
    tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
    x_groq = _x_groq()
    first = {"role": "assistant", "content": ""}
    pieces = [opening + dumps(first) + tail[:-3] + b',"x_groq":' + dumps(x_groq) + b"}\n\n"]

    def add(delta: dict[str, Any]) -> None:
        pieces.append(opening + dumps(delta) + tail)

    def add_texts(field: bytes, texts: Iterable[str], after: bytes = b"") -> None:
        start, end = opening + b'{"' + field + b'":', after + b"}" + tail
        pieces.extend(start + dumps(text) + end for text in texts)

    if shown == "parsed":
        add_texts(b"reasoning", answer.reasoning, b',"channel":"analysis"' if channels else b"")
    elif shown == "raw" and answer.reasoning:
        add_texts(b"content", ("<think>\n", *answer.reasoning, "\n</think>\n\n"))
    if answer.calls:
        for index, call in enumerate(_calls(answer)):
            add({"tool_calls": [{**call, "index": index}]})
    else:
        add_texts(b"content", answer.text)
    if answer.sources:
        add({"executed_tools": _executed(answer)})
    body = len(pieces)
    if (finish := finish_reason(answer)) is not None:
        usage = _usage(answer)
        ended = dumps({"x_groq": {**x_groq, "usage": usage}, "usage": usage})[1:]
        pieces.append(opening + b'{},"logprobs":null,"finish_reason":' + dumps(finish) + b"}]," + ended + b"\n\n")
    pieces.append(b"data: [DONE]\n\n")
    return Reply(200, head(True), escape_markup(pieces), streamed=True, closing=len(pieces) - body)


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [tool_call(new_id("fc_", 32), call.name, dumps(call.arguments).decode()) for call in answer.calls]


def _executed(answer: Answer) -> list[dict[str, Any]]:
    found = [
        {"title": source.title, "url": source.url, "content": "نصٌّ مُحاكًى من المعجم", "score": 0.9} for source in answer.sources
    ]
    return [{"index": 0, "type": "search", "arguments": '{"query": "معجم"}', "output": "", "search_results": {"results": found}}]


def _usage(answer: Answer) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "queue_time": 0.001,
        "prompt_tokens": answer.input_tokens,
        "prompt_time": 0.001,
        "completion_tokens": answer.output_tokens,
        "completion_time": 0.01,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "total_time": 0.011,
    }
    if answer.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
    return usage


def _x_groq() -> dict[str, Any]:
    return {"id": new_id("req_sim", 22)}


def _object(problem: Problem) -> dict[str, Any]:
    message = problem.message or _MESSAGES.get(problem.status) or f"The request failed with status {problem.status}."
    found = {"message": message, "type": _TYPES.get(problem.status, "invalid_request_error")}
    code = problem.code or _CODES.get(problem.status)
    if code:
        found["code"] = code
    if code == "tool_use_failed":
        found["failed_generation"] = '{"name": "get_entry", "arguments": {"كلمة"'
    return found


def error(problem: Problem) -> bytes:
    """Write a problem as an error body (no `param`)."""
    return dumps({"error": _object(problem)})


def stream_error(problem: Problem, bare: bool) -> bytes:
    """Write a problem into a stream: `event: error` with the status inside the object, then the end without `[DONE]`."""
    body = dumps({"error": {**_object(problem), "status_code": problem.status}})
    return body + b"\n" if bare else b"event: error\ndata: " + body + b"\n\n"


def head(streamed: bool) -> dict[str, str]:
    """The headers of a reply; requests are counted a day, tokens a minute."""
    return {
        "Content-Type": "text/event-stream" if streamed else "application/json",
        "x-request-id": new_id("req_sim", 22),
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14399",
        "x-ratelimit-reset-requests": "6s",
    }


FORMAT = Format("groq", "groq", bearer, check_key, read, reply, error, stream_error, head, failing_status=503)
