"""Tool calls in Chat Completions replies, however an upstream cuts and labels them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.jsontext import clean_value
from gateway.providers.openai import PROVIDER
from tests.providers.fixture_cases import fold
from tests.providers.openai_chunks import FINISH, delta, streamed


def fragment(arguments: Any = "", **fields: Any) -> dict[str, Any]:
    """Return one fragment; `name` goes into its function."""
    function = {"arguments": arguments} | ({"name": fields.pop("name")} if "name" in fields else {})
    return {"type": "function", "function": function, **fields}


def calls(*fragments: dict[str, Any]) -> list[tuple[str | None, str, Any]]:
    """Return the calls that fragments in one chunk each amount to."""
    events = streamed(*(delta(tool_calls=[piece]) for piece in fragments), FINISH)
    return [(event.id, event.name, event.arguments) for event in events if isinstance(event, ev.ToolCalled)]


def test_a_call_is_given_as_soon_as_the_next_one_begins() -> None:
    first, second = fragment('{"q": "قهوة"}', index=0, id="a", name="f"), fragment("{", index=1, id="b", name="g")
    events = streamed(delta(tool_calls=[first]), delta(tool_calls=[second]), done=False)
    assert [event for event in events if isinstance(event, ev.ToolCalled)] == [
        ev.ToolCalled("a", "f", '{"q": "قهوة"}'),
    ]


def test_the_last_call_is_given_with_the_finish_reason() -> None:
    events = streamed(delta(tool_calls=[fragment("{}", index=0, id="a", name="f")]), FINISH, done=False)
    assert ev.ToolCalled("a", "f", "{}") in events


def test_interleaved_fragments() -> None:
    found = calls(
        fragment(index=0, id="a", name="f"),
        fragment(index=1, id="b", name="g"),
        fragment('{"x":', index=0),
        fragment('{"y":', index=1),
        fragment("1}", index=0),
        fragment("2}", index=1),
    )
    assert found == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


def test_one_index_for_all_calls() -> None:
    found = calls(
        fragment('{"x":', index=0, id="a", name="f"),
        fragment("1}", index=0, id="a", name="f"),
        fragment('{"x":2}', index=0, id="b", name="f"),
    )
    assert found == [("a", "f", '{"x":1}'), ("b", "f", '{"x":2}')]


def test_no_index() -> None:
    found = calls(
        fragment('{"x":', id="a", name="f"),
        fragment("1}", id="a"),
        fragment('{"y":', id="b", name="g"),
        fragment("2}"),
    )
    assert found == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


def test_neither_index_nor_id() -> None:
    assert calls(fragment("{}", name="f"), fragment("{}", name="f")) == [(None, "f", "{}"), (None, "f", "{}")]


@pytest.mark.parametrize(("arguments", "expected"), [(None, ""), ({"x": 1}, {"x": 1}), ({}, ""), (7, "")])
def test_arguments_that_are_no_text(arguments: Any, expected: Any) -> None:
    assert calls(fragment(arguments, index=0, id="a", name="f")) == [("a", "f", expected)]


def test_a_call_without_a_name_is_no_call() -> None:
    assert calls(fragment("{}", index=0, id="a"), fragment("{}", index=1, id="b", name="")) == []


def test_a_custom_tool_in_pieces() -> None:
    found = calls(
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "math", "input": ""}},
        {"index": 0, "custom": {"input": "4 + "}},
        {"index": 0, "custom": {"input": "٤"}},
    )
    assert found == [("a", "math", {"input": "4 + ٤"})]


def test_the_legacy_function_call() -> None:
    pieces = [{"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"}]
    events = streamed(*(delta(function_call=piece) for piece in pieces))
    assert ev.ToolCalled(None, "f", '{"x":1}') in events
    message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    whole = PROVIDER.decode_reply(
        json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "function_call"}]}).encode()
    )
    assert whole[1:] == [ev.ToolCalled(None, "f", "{}"), ev.Finished("tool_calls")]


def test_whole_calls_with_one_id_stay_apart() -> None:
    message = {"tool_calls": [fragment("{}", id="a", name="f"), fragment('{"x": 1}', id="a", name="g"), None]}
    reply = fold(PROVIDER.decode_reply(json.dumps({"choices": [{"message": message}]}).encode()))
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("f", {}), ("g", {"x": 1})]
    assert len({call.id for call in reply.tool_calls}) == 2


names = st.text("abcdefgh_", min_size=1, max_size=6)
objects = st.dictionaries(st.text(max_size=4), st.integers(-(2**63), 2**64 - 1) | st.text(max_size=6), max_size=3)


@st.composite
def fragmented(draw: st.DrawFn) -> tuple[list[tuple[str, str, Any]], list[dict[str, Any]]]:
    """Calls, and fragments that one of the known kinds of upstream would send for them."""
    wanted: list[tuple[str, str, Any]] = []
    fragments: list[dict[str, Any]] = []
    indexed, repeating = draw(st.booleans()), draw(st.booleans())
    for number, (name, value) in enumerate(draw(st.lists(st.tuples(names, objects), min_size=1, max_size=4))):
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        wanted.append((f"call_{number}", name, clean_value(value)))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        for place, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
            label = {"id": f"call_{number}", "name": name} if repeating or place == 0 else {}
            fragments.append(fragment(text[start:end], **label, **({"index": number} if indexed else {})))
    return wanted, fragments


@given(fragmented())
@settings(max_examples=100, deadline=None)
def test_any_labelling_gives_the_same_calls(drawn: tuple[list[tuple[str, str, Any]], list[dict[str, Any]]]) -> None:
    wanted, fragments = drawn
    reply = fold(streamed(*(delta(tool_calls=[piece]) for piece in fragments), FINISH))
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == wanted
    assert reply.finish_reason == "tool_calls"
