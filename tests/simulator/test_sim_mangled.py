"""Requests that were taken, with one value changed for another: taken or refused, never a failure of the simulator."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.answer import answer
from simulator.formats import anthropic, gemini, groq, openai
from simulator.formats.base import Incoming, RefusedError, read
from simulator.server import DEFAULT_SCRIPT
from tests.simulator.asking import RECORDINGS

FORMATS = {"openai": openai.FORMAT, "groq": groq.FORMAT, "anthropic": anthropic.FORMAT, "gemini": gemini.FORMAT}
TAKEN = sorted((RECORDINGS / "requests").glob("*.json"))
JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, False, -1, 0, 5, "", "س", [], {}, [5], [{}], {"س": 5}])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.stem)
@given(data=st.data())
def test_a_mangled_request_is_taken_or_refused(path: Any, data: st.DataObject) -> None:
    recorded = json.loads(path.read_text())
    body = copy.deepcopy(recorded["body"])
    *outer, last = data.draw(st.sampled_from(list(places(body))))
    holder = body
    for key in outer:
        holder = holder[key]
    holder[last] = data.draw(JUNK)
    model, _, action = recorded["url"].rpartition("/")[2].partition(":")
    incoming = Incoming({"anthropic-version": "2023-06-01"}, {}, body, 100, model=model, action=action)
    wire = FORMATS[path.name.partition("-")[0]]
    status, written = 200, b""
    try:
        ask = read(wire, incoming)
    except RefusedError as refused:
        status, written = refused.problem.status, wire.error(refused.problem)
    else:
        written = wire.reply(ask, answer(ask, DEFAULT_SCRIPT)).pieces[-1]
    assert status in (200, 400)
    assert written
