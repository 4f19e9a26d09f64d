"""OpenAI's Responses API, as openai-python 3.54 types it."""

import time
from collections.abc import Mapping
from itertools import count
from typing import Any, Literal

from simulator.answer import Answer, Ask, Source, Tool
from simulator.formats.base import Format, Incoming, Problem, RefusedError, Reply, bearer, cut, dumps, new_id, unknown_model
from simulator.formats.openai import check_key, error, error_object, head
from simulator.rules.openai import is_reasoning
from simulator.rules.responses import check
from simulator.script import directive, without_directive
from simulator.signatures import sign

_INCOMPLETE = {"length": "max_output_tokens", "blocked": "content_filter"}
_Event = tuple[str, dict[str, Any]]


def read(incoming: Incoming) -> Ask:
    """Return what a request asks; raise `RefusedError` where the provider would refuse it."""
    body = incoming.body
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError(400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    check(body)
    if unknown_model(model):
        text = f"The requested model '{model}' does not exist."
        raise RefusedError(400, text, param="model", code="model_not_found")
    items: list[dict[str, Any]] = (
        [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
    )
    last = max((index for index, item in enumerate(items) if item.get("role") == "user"), default=-1)
    said = _text(items[last]["content"]) if last >= 0 else ""
    choice, forced = _choice(body.get("tool_choice"))
    return Ask(
        provider="openai",
        model=model,
        stream=bool(body.get("stream")),
        question=without_directive(said),
        directive=directive(said),
        results=tuple(_text(item["output"]) for item in items[last + 1 :] if item.get("type") == "function_call_output"),
        tools=tuple(Tool(tool["name"], tool.get("parameters") or {}) for tool in body.get("tools") or ()),
        choice=choice,
        forced=forced,
        max_tokens=body.get("max_output_tokens"),
        input_tokens=incoming.tokens,
        options=body,
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict))


def _choice(choice: Any) -> tuple[Literal["auto", "none", "required"], str | None]:
    if isinstance(choice, dict):
        return "required", choice.get("name")
    return ("auto", None) if choice not in ("none", "required") else (choice, None)


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer, streamed or whole."""
    items = _items(ask, answer)
    ended = answer.finish in ("stop", "tool_calls", "refusal")
    status = "completed" if ended else "in_progress" if answer.finish == "none" else "incomplete"
    final = _response(ask, status) | {"output": items, "usage": _usage(ask, answer)}
    if status == "incomplete":
        final["incomplete_details"] = {"reason": _INCOMPLETE.get(answer.finish, answer.finish)}
    if not ask.stream:
        return Reply(200, head(False), [dumps(final)])
    events = [("response.created", {"response": _response(ask, "in_progress")})]
    for index, item in enumerate(items):
        events += _told(index, item, answer)
    closing = 0
    if status != "in_progress":
        events.append((f"response.{status}", {"response": final}))
        closing = 1
    return Reply(200, head(True), _frames(events, ask), streamed=True, closing=closing)


def _response(ask: Ask, status: str) -> dict[str, Any]:
    options = ask.options
    return {
        "id": new_id("resp_sim", 40),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": options.get("instructions"),
        "max_output_tokens": options.get("max_output_tokens"),
        "metadata": {},
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None, **(options.get("reasoning") or {})},
        "service_tier": "default",
        "store": options.get("store", True),
        "temperature": 1,
        "tool_choice": options.get("tool_choice", "auto"),
        "tools": options.get("tools") or [],
        "top_p": 1,
        "truncation": "disabled",
        "usage": None,
    }


def _items(ask: Ask, answer: Answer) -> list[dict[str, Any]]:
    """Reasoning comes first, and where it leads to calls also when there is nothing to read in it."""
    items = []
    if is_reasoning(ask.model) and (answer.reasoning or answer.calls):
        items.append(_reasoning(ask, "".join(answer.reasoning)))
    text = "".join(answer.text)
    if text or not answer.calls:
        refused = answer.finish == "refusal"
        part = {"type": "refusal", "refusal": text} if refused else _output_text(text, answer.sources)
        item = {"id": new_id("msg_sim", 40), "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        items.append(item | {"phase": "commentary" if answer.calls else "final_answer"})
    for call in answer.calls:
        item = {"id": new_id("fc_sim", 40), "type": "function_call", "status": "completed", "call_id": new_id("call_")}
        items.append(item | {"name": call.name, "arguments": dumps(call.arguments).decode()})
    return items


def _output_text(text: str, sources: tuple[Source, ...]) -> dict[str, Any]:
    cited = [
        {"type": "url_citation", "start_index": 0, "end_index": len(text), "title": source.title, "url": source.url}
        for source in sources
    ]
    return {"type": "output_text", "annotations": cited, "logprobs": [], "text": text}


def _reasoning(ask: Ask, thought: str) -> dict[str, Any]:
    shown = thought if (ask.options.get("reasoning") or {}).get("summary") else ""
    item: dict[str, Any] = {"id": new_id("rs_sim", 40), "type": "reasoning"}
    item["summary"] = [{"type": "summary_text", "text": shown}] if shown else []
    if "reasoning.encrypted_content" in (ask.options.get("include") or ()):
        item["encrypted_content"] = sign([item["id"], item["summary"]])
    return item


def _told(index: int, item: dict[str, Any], answer: Answer) -> list[_Event]:
    """The events of one item; each piece of text and of arguments is one."""
    at = {"item_id": item["id"], "output_index": index}
    events: list[_Event] = []
    match item["type"]:
        case "reasoning":
            opened = {**item, "summary": []}
            for number, part in enumerate(item["summary"]):
                where = at | {"summary_index": number}
                events.append(("response.reasoning_summary_part.added", where | {"part": {**part, "text": ""}}))
                deltas = ({"delta": piece} for piece in answer.reasoning)
                events += [("response.reasoning_summary_text.delta", where | delta) for delta in deltas]
                events.append(("response.reasoning_summary_text.done", where | {"text": part["text"]}))
                events.append(("response.reasoning_summary_part.done", where | {"part": part}))
        case "message":
            opened = {**item, "status": "in_progress", "content": []}
            events = _part(at | {"content_index": 0}, item["content"][0], answer.text)
        case _:
            opened = {**item, "status": "in_progress", "arguments": ""}
            deltas = ({"delta": piece} for piece in cut(item["arguments"]))
            events += [("response.function_call_arguments.delta", at | delta) for delta in deltas]
            whole = {"arguments": item["arguments"], "name": item["name"]}
            events.append(("response.function_call_arguments.done", at | whole))
    place = {"output_index": index}
    done = ("response.output_item.done", place | {"item": item})
    return [("response.output_item.added", place | {"item": opened}), *events, done]


def _part(where: dict[str, Any], part: dict[str, Any], pieces: tuple[str, ...]) -> list[_Event]:
    name = "refusal" if part["type"] == "refusal" else "text"
    kind = "refusal" if name == "refusal" else "output_text"
    logged: dict[str, Any] = {} if name == "refusal" else {"logprobs": []}
    empty = {**part, name: ""} | ({"annotations": []} if "annotations" in part else {})
    events: list[_Event] = [("response.content_part.added", where | {"part": empty})]
    events += [(f"response.{kind}.delta", where | logged | {"delta": piece}) for piece in pieces]
    for number, annotation in enumerate(part.get("annotations") or ()):
        cited = {"annotation_index": number, "annotation": annotation}
        events.append(("response.output_text.annotation.added", where | cited))
    events.append((f"response.{kind}.done", where | logged | {name: part[name]}))
    return [*events, ("response.content_part.done", where | {"part": part})]


def _frames(events: list[_Event], ask: Ask) -> list[bytes]:
    plain = (ask.options.get("stream_options") or {}).get("include_obfuscation") is False
    numbers = count()
    frames = []
    for kind, fields in events:
        pad = {} if plain or not kind.endswith(".delta") else {"obfuscation": "simulated"}
        value = {"type": kind, **fields, **pad, "sequence_number": next(numbers)}
        frames.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), dumps(value)))
    return frames


def _usage(ask: Ask, answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens if is_reasoning(ask.model) else 0},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }


def stream_error(problem: Problem, bare: bool) -> bytes:
    """Write a problem into a stream: an `error` event, after which nothing more comes."""
    if bare:
        return error(problem) + b"\n"
    value: Mapping[str, Any] = {"type": "error", "error": error_object(problem), "sequence_number": 0}
    return b"event: error\ndata: " + dumps(value) + b"\n\n"


FORMAT = Format("openai", "openai-responses", bearer, check_key, read, reply, error, stream_error, head)
