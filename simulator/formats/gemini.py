"""Gemini generateContent, as google-genai 3.4 types it and recordings show it."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from simulator.answer import Answer, Ask, Tool
from simulator.formats.base import (
    Format,
    Incoming,
    Problem,
    RefusedError,
    Reply,
    dumps,
    escape_markup,
    new_id,
    refused_key,
    unknown_model,
)
from simulator.rules.gemini import camel_keys, check
from simulator.script import directive, without_directive
from simulator.signatures import sign

_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {
    429: "You exceeded your current quota, please check your plan and billing details.",
    499: "The operation was cancelled.",
    500: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    503: "The model is overloaded. Please try again later.",
    504: "The request timed out. Please try again.",
}
_BAD_KEY = "API key not valid. Please pass a valid API key."


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The key of the `x-goog-api-key` header, or of the query."""
    return (headers.get("x-goog-api-key") or query.get("key") or "").strip()


def check_key(key: str, _headers: Mapping[str, str]) -> None:
    """Raise `RefusedError`: 403 without a key, 400 with a wrong one."""
    if not key:
        text = (
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API."
        )
        raise RefusedError(403, text)
    if refused_key(key):
        raise RefusedError(400, _BAD_KEY, code="API_KEY_INVALID")


def read(incoming: Incoming) -> Ask:
    """Read a generateContent request."""
    model = incoming.model
    if unknown_model(model):
        text = (
            f"models/{model} is not found for API version v1beta, or is not supported for generateContent. Call "
            "ModelService.ListModels to see the list of available models and their supported methods."
        )
        raise RefusedError(404, text)
    body = camel_keys(incoming.body)
    check(body, model)
    config = body.get("generationConfig") or {}
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    modes: dict[str, Literal["none", "required"]] = {"NONE": "none", "ANY": "required"}
    said, results = _latest(body["contents"])
    return Ask(
        provider="google",
        model=model,
        stream=incoming.action == "streamGenerateContent",
        question=without_directive(said),
        directive=directive(said),
        results=results,
        tools=tuple(
            Tool(found["name"], found.get("parametersJsonSchema") or found.get("parameters") or {})
            for tool in body.get("tools") or ()
            for found in tool.get("functionDeclarations") or ()
        ),
        choice=modes.get(calling.get("mode", ""), "auto"),
        forced=next(iter(calling.get("allowedFunctionNames") or ()), None),
        max_tokens=config.get("maxOutputTokens"),
        input_tokens=incoming.tokens,
        options={"thinking": config.get("thinkingConfig") or {}, "sse": incoming.query.get("alt") == "sse"},
    )


def _latest(contents: list[dict[str, Any]]) -> tuple[str, tuple[str, ...]]:
    said = ""
    for content in reversed(contents):
        if content.get("role") != "model" and (said := "".join(part.get("text") or "" for part in content["parts"])):
            break
    responses = [part["functionResponse"].get("response") for part in contents[-1]["parts"] if "functionResponse" in part]
    return said, tuple(_result_text(response) for response in responses)


def _result_text(response: Any) -> str:
    value = response
    if isinstance(response, dict) and len(response) == 1:
        value = next(iter(response.values()))
    return value if isinstance(value, str) else dumps(value).decode()


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer: whole, as SSE (CRLF-framed), or as one JSON array sent in pieces."""
    ids = {"modelVersion": ask.model, "responseId": new_id("sim", 20)}
    if answer.finish == "blocked":
        feedback = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": _usage(answer, 0, 0), **ids}
        return _framed(ask, [dumps(feedback)])
    steps = _steps(ask, answer)
    last: dict[str, Any] = {} if answer.finish == "none" else {"finishReason": _FINISH.get(answer.finish, answer.finish)}
    if answer.sources:
        chunks = [{"web": {"uri": source.url, "title": source.title}} for source in answer.sources]
        last["groundingMetadata"] = {"groundingChunks": chunks, "webSearchQueries": ["معجم"]}
    if not ask.stream:
        parts = _joined([part for step in steps for part in step])
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **last}
        full = _usage(answer, answer.output_tokens, answer.reasoning_tokens)
        return _framed(ask, [dumps({"candidates": [candidate], "usageMetadata": full, **ids})])
    if not steps or "functionCall" in steps[-1][0] or answer.finish == "none":
        steps.append([{"text": ""}])
    bodies = []
    thought = 0
    start, middle = b'{"candidates":[{"content":{"parts":[', b'],"role":"model"},"index":0'
    counts, identity = b'}],"usageMetadata":', _more(ids) + b"}"
    for number, parts in enumerate(steps, 1):
        thought += "thought" in parts[0]
        end, done = middle + counts, number
        if number == len(steps):
            end, done = middle + _more(last) + counts, answer.output_tokens
        bodies.append(start + dumps(parts)[1:-1] + end + dumps(_usage(answer, done, thought)) + identity)
    return _framed(ask, bodies)


def _more(fields: Mapping[str, Any]) -> bytes:
    """Fields that go on with an object: the object's JSON without its braces, behind a comma."""
    return b"," + dumps(fields)[1:-1] if fields else b""


def _steps(ask: Ask, answer: Answer) -> list[list[dict[str, Any]]]:
    """The parts of each chunk: thoughts, then text or calls."""
    steps: list[list[dict[str, Any]]] = []
    if ask.options["thinking"].get("includeThoughts") is not False:
        steps += [[{"text": text, "thought": True}] for text in answer.reasoning]
    if answer.calls:
        steps += [[part] for part in _call_parts(ask.model, answer)]
    else:
        steps += [[{"text": text}] for text in answer.text]
        if answer.reasoning and steps:
            steps[-1][0]["thoughtSignature"] = sign(None)
    return steps


def _call_parts(model: str, answer: Answer) -> list[dict[str, Any]]:
    """Calls with ids from Gemini 3 on; only the first of parallel calls is signed (2.5 signs when it thought)."""
    version = re.match(r"gemini-(\d+)", model)
    with_ids = version is None or int(version[1]) >= 3
    parts: list[dict[str, Any]] = []
    for index, call in enumerate(answer.calls):
        made: dict[str, Any] = {"name": call.name, "args": call.arguments}
        part: dict[str, Any] = {"functionCall": {**made, "id": new_id("", 8)} if with_ids else made}
        if index == 0 and (with_ids or answer.reasoning):
            part["thoughtSignature"] = sign(made)
        parts.append(part)
    return parts


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring texts of one kind, as a whole reply has them."""
    joined: list[dict[str, Any]] = []
    for part in parts:
        before = joined[-1] if joined else {}
        if "text" in part and "text" in before and part.get("thought") == before.get("thought"):
            joined[-1] = {**before, **part, "text": before["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _framed(ask: Ask, bodies: list[bytes]) -> Reply:
    written = escape_markup(bodies)
    if not ask.stream:
        return Reply(200, head(False), written)
    if ask.options["sse"]:
        return Reply(200, head(True), [b"", *(b"data: " + body + b"\r\n\r\n" for body in written)], streamed=True)
    pieces = [b"[", written[0], *(b",\r\n" + body for body in written[1:-1])]
    if len(written) > 1:
        pieces.append(b",\r\n" + written[-1])
    pieces[-1] += b"]\n"
    return Reply(200, head(False), pieces, streamed=True)


def _usage(answer: Answer, output: int, thoughts: int) -> dict[str, Any]:
    """Counts so far: candidates exclude thoughts, which stand apart."""
    usage: dict[str, Any] = {
        "promptTokenCount": answer.input_tokens,
        "totalTokenCount": answer.input_tokens + max(output, thoughts),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": answer.input_tokens}],
    }
    if output > thoughts:
        usage["candidatesTokenCount"] = output - thoughts
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage


def _object(problem: Problem) -> dict[str, Any]:
    status, message = problem.status, problem.message or _MESSAGES.get(problem.status) or "The request failed."
    details: list[dict[str, Any]] = []
    name = _STATUSES.get(status, "UNKNOWN" if status >= 500 else "INVALID_ARGUMENT")
    if problem.code in _STATUSES.values():
        name = str(problem.code)
    elif problem.code:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": problem.code, "domain": "googleapis.com"})
        message = _BAD_KEY if problem.code == "API_KEY_INVALID" else message
    if problem.retry_after is not None:
        wait = f"{problem.retry_after:g}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait})
        message += f"\nPlease retry in {wait}."
    found: dict[str, Any] = {"code": status, "message": message, "status": name}
    return {"error": {**found, "details": details} if details else found}


def error(problem: Problem) -> bytes:
    """Write a problem as an error body."""
    return dumps(_object(problem))


def stream_error(problem: Problem, bare: bool) -> bytes:
    """Write a problem into a stream: as a data frame, or pretty-printed behind the frames."""
    body = error(problem)
    if bare:
        return b"{\n  " + body[1:-1].replace(b',"', b',\n    "') + b"\n}\n"
    return b"data: " + body + b"\r\n\r\n"


def head(streamed: bool) -> dict[str, str]:
    """The headers of a reply."""
    return {"Content-Type": "text/event-stream" if streamed else "application/json; charset=UTF-8"}


def no_retry_header(_problem: Problem) -> dict[str, str]:
    """Gemini tells the wait in the body."""
    return {}


FORMAT = Format(
    "google",
    "gemini",
    key_of,
    check_key,
    read,
    reply,
    error,
    stream_error,
    head,
    failing_status=503,
    retry_headers=no_retry_header,
)
