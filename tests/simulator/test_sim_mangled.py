"""Requests that were taken, with one value changed for another: taken or refused, never a failure of the simulator."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.answer import answer
from simulator.formats import anthropic, compatible, gemini, groq, openai, responses
from simulator.formats.base import Incoming, RefusedError, read
from simulator.server import DEFAULT_SCRIPT
from tests.simulator.asking import RECORDINGS

FORMATS = {
    "openai": openai.FORMAT,
    "groq": groq.FORMAT,
    "anthropic": anthropic.FORMAT,
    "gemini": gemini.FORMAT,
    "responses": responses.FORMAT,
    "compatible": compatible.FORMAT,
}
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}}
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "سلام"}, {"type": "input_image", "image_url": "data:,x"}]},
    {"type": "message", "role": "assistant", "content": "نعم", "phase": "commentary"},
    {"type": "function_call", "call_id": "call_1", "name": "get_word", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "جواب"},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_word", "arguments": "{}"}}
MESSAGES = [
    {"role": "user", "content": "سلام"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "جواب"},
]
WRITTEN = {
    "responses-handmade": {
        "model": "gpt-6.1-sol",
        "input": ITEMS,
        "tools": [{"type": "function", "name": "get_word", "parameters": SCHEMA, "strict": False}],
        "tool_choice": {"type": "function", "name": "get_word"},
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 100,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
        "store": False,
    },
    "compatible-handmade": {
        "model": "qwen3:8b",
        "messages": MESSAGES,
        "tools": [{"type": "function", "function": {"name": "get_word", "parameters": SCHEMA}}],
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}
TAKEN = {path.stem: json.loads(path.read_text()) for path in sorted((RECORDINGS / "requests").glob("*.json"))}
TAKEN |= {name: {"url": "", "body": body} for name, body in WRITTEN.items()}
JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, False, -1, 0, 5, "", "س", [], {}, [5], [{}], {"س": 5}])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def status_of(name: str, body: dict[str, Any]) -> int:
    """The status of the reply, which is written whatever it is."""
    model, _, action = TAKEN[name]["url"].rpartition("/")[2].partition(":")
    incoming = Incoming({"anthropic-version": "2023-06-01"}, {}, body, 100, model=model, action=action)
    wire = FORMATS[name.partition("-")[0]]
    status = 200
    try:
        ask = read(wire, incoming)
    except RefusedError as refused:
        status, written = refused.problem.status, wire.error(refused.problem)
    else:
        written = wire.reply(ask, answer(ask, DEFAULT_SCRIPT)).pieces[-1]
    assert written
    return status


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_mangled_is_taken_as_it_was(name: str) -> None:
    assert status_of(name, TAKEN[name]["body"]) == 200


@pytest.mark.parametrize("name", TAKEN)
@given(data=st.data())
def test_a_mangled_request_is_taken_or_refused(name: str, data: st.DataObject) -> None:
    body = copy.deepcopy(TAKEN[name]["body"])
    *outer, last = data.draw(st.sampled_from(list(places(body))))
    holder = body
    for key in outer:
        holder = holder[key]
    holder[last] = data.draw(JUNK)
    assert status_of(name, body) in (200, 400, 422)
