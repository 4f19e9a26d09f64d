"""Each signature goes back on the part it came with, through the log and a client that knows nothing of parts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.jsontext import dumps
from gateway.core.messages import (
    AssistantMessage,
    KeptState,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
    ToolResults,
    UserMessage,
)
from gateway.providers.base import Route
from gateway.providers.gemini import PROVIDER
from tests.providers import fixture_cases as fx
from tests.providers.gemini_prompts import kept, reply

STAND_IN = "skip_thought_signature_validator"
SIGNED = [case for case in fx.streams("google") + fx.replies("google") if b"thoughtSignature" in case.body]
QUESTION = UserMessage((TextPart("ما معنى كتب؟"),))

Part = dict[str, Any]


def replayed(message: AssistantMessage, model: str = "gemini-2.5-flash") -> list[Part]:
    """Return the parts that go out for `message`."""
    call = PROVIDER.encode(Prompt((QUESTION, message, QUESTION)), Route("google", model, "https://host", "k"), False)
    contents = json.loads(call.body)["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    parts: list[Part] = contents[1]["parts"]
    return parts


def answered(parts: list[Part], state: KeptState | None) -> AssistantMessage:
    """Return the turn as a client sends it back: text, names and arguments."""
    text = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    return AssistantMessage(text, tuple(ToolCall(f"own_{at}", c["name"], c["args"]) for at, c in enumerate(calls)), state)


def recorded_parts(case: fx.Case) -> list[Part]:
    lines = case.body.decode().splitlines() if case.kind == "sse" else ["data: " + case.body.decode()]
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", [])]


def ours(parts: list[Part]) -> list[Part]:
    """Return the parts that are a client's to send back, unsigned neighbours in text joined, empty ones left out."""
    joined: list[Part] = []
    for part in parts:
        if part.get("thought") or not part.keys() & {"text", "functionCall"}:
            continue
        if part.get("text") == "" and "thoughtSignature" not in part:
            continue
        if joined and joined[-1].keys() == part.keys() == {"text"}:
            joined[-1] = {"text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


@pytest.mark.parametrize("case", SIGNED, ids=str)
def test_recorded_turns_are_replayed_part_for_part(case: fx.Case) -> None:
    record, parts = PROVIDER, recorded_parts(case)
    events = fx.decode_stream(record, case.body) if case.kind == "sse" else record.decode_reply(case.body)
    state = kept(events)
    assert state is not None
    assert replayed(answered(parts, state)) == ours(parts)


texts = st.text(alphabet="كتاب é😀x", min_size=1, max_size=6).map(lambda text: {"text": text})
calls = st.builds(
    lambda name, args, own_id: {"functionCall": {"name": name, "args": args} | ({"id": own_id} if own_id else {})},
    st.sampled_from(["get_entry", "search"]),
    st.dictionaries(st.sampled_from(["id", "q"]), st.integers(0, 9), max_size=2),
    st.sampled_from([None, "8f3k", "x9"]),
)
signatures = st.sampled_from([{}, {"thoughtSignature": "AbCd"}, {"thoughtSignature": "EfGh"}])
turns = st.lists(
    st.builds(lambda part, signature: part | signature, st.one_of(texts, calls, st.just({"text": ""})), signatures),
    min_size=1,
    max_size=6,
)


@given(parts=turns, cuts=st.booleans())
def test_any_turn_is_replayed_part_for_part(parts: list[Part], cuts: bool) -> None:
    if cuts:
        frames = [b"data: " + reply([part]) + b"\r\n\r\n" for part in parts]
        state = kept(fx.decode_stream(PROVIDER, b"".join(frames)))
    else:
        state = kept(PROVIDER.decode_reply(reply(parts)))
    message = answered(parts, state)
    if state is None:
        assert not any("thoughtSignature" in part or part.get("functionCall", {}).get("id") for part in parts)
    elif ours(parts):
        assert replayed(message) == ours(parts)


SIGNED_CALLS: list[Part] = [
    {"text": "سأبحث."},
    {"functionCall": {"name": "search", "args": {"q": "كتب"}, "id": "a1"}, "thoughtSignature": "AbCd"},
    {"functionCall": {"name": "get_entry", "args": {"id": 7}, "id": "b2"}},
]


def signed_turn() -> AssistantMessage:
    return answered(SIGNED_CALLS, kept(PROVIDER.decode_reply(reply(SIGNED_CALLS))))


def test_changed_text_costs_the_calls_nothing() -> None:
    turn = signed_turn()
    changed = AssistantMessage("سأبحث عن الكلمة.", turn.tool_calls, turn.state)
    assert replayed(changed) == [{"text": "سأبحث عن الكلمة."}, *SIGNED_CALLS[1:]]


def test_a_call_that_is_another_one_does_not_borrow_a_signature() -> None:
    turn = signed_turn()
    other = AssistantMessage(turn.text, turn.tool_calls[1:], turn.state)
    bare = {"functionCall": {"name": "get_entry", "args": {"id": 7}}}
    assert replayed(other) == [{"text": "سأبحث."}, bare]
    assert replayed(other, "gemini-3.8-flash")[1] == bare | {"thoughtSignature": STAND_IN}


def test_a_kept_signature_needs_no_stand_in() -> None:
    assert replayed(signed_turn(), "gemini-3.8-flash") == SIGNED_CALLS


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"parts": None},
        {"parts": [7, None, "x"]},
        {"parts": [{"text": "12"}, {"call": 7}, {"call": ["get_entry"], "signature": 3, "id": {}}]},
        {"parts": [{"text": -4}, {"call": "search", "signature": 3, "id": {}}, {"call": "get_entry"}]},
    ],
)
def test_damaged_state_is_no_state(data: dict[str, Any]) -> None:
    turn = signed_turn()
    message = AssistantMessage(turn.text, turn.tool_calls, KeptState("google", "gemini-2.5-flash", data))
    assert replayed(message) == replayed(AssistantMessage(turn.text, turn.tool_calls))


def test_state_of_another_provider_is_left_alone() -> None:
    turn = signed_turn()
    assert turn.state is not None
    foreign = AssistantMessage(turn.text, turn.tool_calls, KeptState("anthropic", "claude", turn.state.data))
    assert replayed(foreign) == replayed(AssistantMessage(turn.text, turn.tool_calls))


def test_results_carry_the_ids_that_gemini_gave() -> None:
    turn = signed_turn()
    results = ToolResults(tuple(ToolResult(call.id, call.name, "كتاب") for call in turn.tool_calls))
    call = PROVIDER.encode(Prompt((QUESTION, turn, results)), Route("google", "gemini-3.8-flash", "https://h", "k"), True)
    responses = [part["functionResponse"] for part in json.loads(call.body)["contents"][2]["parts"]]
    assert [(response["name"], response["id"]) for response in responses] == [("search", "a1"), ("get_entry", "b2")]


def test_a_plain_reply_leaves_nothing_behind() -> None:
    assert kept(PROVIDER.decode_reply(reply([{"text": "كتاب"}]))) is None
    assert kept(PROVIDER.decode_reply(dumps({"candidates": [{"finishReason": "STOP"}]}))) is None
