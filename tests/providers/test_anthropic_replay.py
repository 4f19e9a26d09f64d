"""Thinking that goes back to Anthropic: recorded, kept, and sent again as it came; and histories of every shape."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.events import Event, Finished, StateKept
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import (
    AssistantMessage,
    KeptState,
    Message,
    Prompt,
    ToolCall,
    ToolResult,
    ToolResults,
    ToolSpec,
)
from gateway.providers.anthropic import PROVIDER
from tests.providers import fixture_cases as fx
from tests.providers.anthropic_bodies import MODEL, WEATHER, body, call, called, messages, recorded, route, user

VERSION = ToolSpec("fixed_version", "Return a fixed test version string", {"type": "object", "properties": {}})


def kept(events: list[Event]) -> dict[str, Any]:
    """Return the state of a reply, which stands directly before its end, as the log would give it back."""
    state, end = events[-2:]
    assert isinstance(state, StateKept)
    assert isinstance(end, Finished)
    found: dict[str, Any] = loads(dumps(state.data))
    return found


def reply(*content: dict[str, Any]) -> list[Event]:
    """Decode a whole reply of these blocks."""
    message = {"type": "message", "model": MODEL, "content": list(content), "stop_reason": "tool_use", "usage": {}}
    return PROVIDER.decode_reply(dumps(message))


def thinking(words: str = "أفكّر", signature: str = "EoQD") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def use(call_id: str, city: str = "مكة") -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "get_weather", "input": {"city": city}}


def answered(*call_ids: str) -> ToolResults:
    return ToolResults(tuple(ToolResult(call_id, "get_weather", "غائم") for call_id in call_ids))


def state(*content: dict[str, Any], provider: str = "anthropic", model: str = MODEL) -> KeptState:
    return KeptState(provider, model, {"content": list(content)})


def test_a_recorded_round_goes_back_as_the_provider_took_it() -> None:
    wire = recorded("thinking-replay-with-tool-result")
    events = fx.decode_stream(PROVIDER, fx.case("anthropic", "stream-thinking-tool").body)
    [made] = fx.fold(events).tool_calls
    answer = AssistantMessage("", (made,), KeptState("anthropic", "claude-haiku-4-5", kept(events)))
    question = user(wire["messages"][0]["content"][0]["text"])
    result = ToolResults((ToolResult(made.id, made.name, "0.32a0"),))
    sent = body(Prompt((question, answer, result), tools=(VERSION,), max_tokens=64000), route(wire["model"]))
    expected = {name: wire[name] for name in ("model", "max_tokens", "messages", "tools", "stream")}
    assert sent == expected


def test_every_kind_of_thinking_keeps_its_place() -> None:
    content = [
        thinking("", "c2ln"),
        {"type": "text", "text": "أبحث"},
        {"type": "redacted_thinking", "data": "EqkE"},
        use("toolu_1"),
        thinking(),
        use("toolu_2", "جدة"),
    ]
    events = reply(*content)
    answer = called(call("x"), call("y"), text="أبحث", state=KeptState("anthropic", MODEL, kept(events)))
    sent = messages(user("؟"), answer, answered("y", "x"))
    assert sent[1] == {"role": "assistant", "content": content}
    assert [block["tool_use_id"] for block in sent[2]["content"]] == ["toolu_2", "toolu_1"]


def test_what_ran_at_the_provider_and_empty_text_stay_out() -> None:
    server = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    events = reply(thinking(), {"type": "text", "text": "\n\n"}, server, found, use("toolu_1"))
    assert kept(events) == {"content": [thinking(), use("toolu_1")]}


@pytest.mark.parametrize(
    "content",
    [
        (thinking(), {"type": "text", "text": "الجواب"}),
        (use("toolu_1"),),
        (thinking(signature=""), use("toolu_1")),
        (),
    ],
)
def test_nothing_is_kept_without_a_call_and_signed_thinking(content: tuple[dict[str, Any], ...]) -> None:
    assert not [event for event in reply(*content) if isinstance(event, StateKept)]


CONTENT = (thinking(), use("toolu_1"))
MISFITS = {
    "another provider's": state(*CONTENT, provider="google"),
    "another model's": state(*CONTENT, model="claude-opus-4-6"),
    "no blocks": KeptState("anthropic", MODEL, {}),
    "no list": KeptState("anthropic", MODEL, {"content": "؟"}),
    "a call too many": state(*CONTENT, use("toolu_2")),
    "another tool's": state(thinking(), use("toolu_1") | {"name": "get_time"}),
    "a block of another type": state(*CONTENT, {"type": "image"}),
    "a block that is none": KeptState("anthropic", MODEL, {"content": [*CONTENT, 7]}),
    "no signature": state({"type": "thinking", "thinking": "؟"}, use("toolu_1")),
    "input that is no object": state(thinking(), use("toolu_1") | {"input": "{}"}),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_is_left_out(what: str) -> None:
    answer = called(call("toolu_1"), text="لحظة", state=MISFITS[what])
    sent = messages(user("؟"), answer, answered("toolu_1"))
    assert sent[1]["content"] == [{"type": "text", "text": "لحظة"}, use("toolu_1")]


def test_dated_and_undated_names_are_one_model() -> None:
    answer = called(call("toolu_1"), state=state(*CONTENT, model="claude-haiku-4-5-20251001"))
    assert messages(user("؟"), answer, answered("toolu_1"))[1]["content"] == list(CONTENT)


def test_a_refused_replay_is_dropped_and_the_round_goes_on() -> None:
    answer = called(call("toolu_1"), state=state(*CONTENT))
    history = (user("؟"), answer, answered("toolu_1"))
    assert messages(*history, where=route(dropped=["thinking_blocks"]))[1]["content"] == [use("toolu_1")]
    assert messages(*history, tools=())[1]["content"] == [use("toolu_1")]


def test_thinking_goes_back_within_its_question_only() -> None:
    first, second = (called(call(name), state=state(thinking(), use(name))) for name in ("toolu_1", "toolu_2"))
    done = (user("؟"), first, answered("toolu_1"))
    assert thinking() in messages(*done)[1]["content"]
    assert thinking() in messages(*done, user("أسرع"))[1]["content"]
    later = messages(*done, AssistantMessage("غائم"), user("وغدًا؟"), second, answered("toolu_2"))
    assert [thinking() in turn["content"] for turn in later if turn["role"] == "assistant"] == [False, False, True]


IDS = st.text("ab1_-.: ", min_size=1, max_size=4) | st.sampled_from(["functions.x:0", "نداء", "c" * 60])


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    ids = iter(draw(st.lists(IDS, min_size=9, max_size=9, unique=True)))
    texts = st.sampled_from(["", " ", "سلام", "ما الطقس؟\n"])
    history: list[Message] = []
    for _ in range(draw(st.integers(0, 3))):
        history += [user(words) for words in draw(st.lists(texts, max_size=2))]
        calls = tuple(ToolCall(next(ids), "get_weather", {}) for _ in range(draw(st.integers(0, 3))))
        wire = state(thinking(), *(use(f"toolu_{number}") for number in range(len(calls))))
        history.append(AssistantMessage(draw(texts), calls, draw(st.sampled_from([None, wire]))))
        if calls:
            order = draw(st.permutations([made.id for made in calls]))
            history.append(answered(*order))
    if not history or not isinstance(history[-1], ToolResults) or draw(st.booleans()):
        history.append(user("والآن؟"))
    return tuple(history)


@given(histories(), st.sampled_from([(), (WEATHER,)]))
@settings(deadline=None, max_examples=150)
def test_any_history_is_one_the_api_takes(history: tuple[Message, ...], tools: tuple[ToolSpec, ...]) -> None:
    sent = body(Prompt(history, tools=tools))
    turns = sent["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    blocks = [block for turn in turns for block in turn["content"]]
    assert all(turn["content"] for turn in turns)
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    for turn, following in pairwise([*turns, {"content": []}]):
        uses = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        found = [block["tool_use_id"] for block in following["content"] if block["type"] == "tool_result"]
        assert sorted(found) == sorted(uses)
        assert [block["type"] == "tool_result" for block in following["content"][: len(found)]] == [True] * len(found)
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", name) for name in uses)
    assert bool(sent.get("tools")) or not any(block["type"] == "tool_use" for block in blocks)
