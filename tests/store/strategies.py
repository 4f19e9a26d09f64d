"""Any turn there can be: text in any script, without the surrogates that no decoder lets through."""

from typing import Any

from hypothesis import strategies as st

from gateway.core.errors import KINDS
from gateway.core.events import SourceFound, UsageReported
from gateway.core.messages import ToolCall, ToolResult
from gateway.core.turn import Attempt, Reply, Thought, TurnBegun, TurnEnded, TurnError, TurnRecord

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40) | st.sampled_from(
    ["ما جذر «استكتب»؟", "كِتَابٌ", "لا\u200cإله", "🕋👩🏽\u200d🚀", '"\\\n\u2028', "\U00010ffff"]
)
maybe_text = st.none() | text
count = st.none() | st.integers(0, 2**53)
moment = st.integers(0, 2**53)
code = st.sampled_from(sorted(KINDS))
json_value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text, children, max_size=3),
    max_leaves=8,
)
json_object = st.dictionaries(text, json_value, max_size=3)


def _tuples(items: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=most).map(tuple)


tool_calls = st.builds(ToolCall, text, text, json_object, maybe_text)
thoughts = st.builds(Thought, st.integers(1, 99), text, _tuples(text), moment)
sources = st.builds(SourceFound, text, maybe_text, maybe_text, maybe_text, maybe_text)
usages = st.builds(UsageReported, count, count, count, count, count)
replies = st.builds(
    Reply,
    text,
    _tuples(tool_calls),
    _tuples(thoughts),
    _tuples(sources),
    usages,
    st.none() | st.sampled_from(["stop", "length", "tool_calls", "content_filter", "error"]),
    text,
    st.none() | json_object,
)
begun_turns = st.builds(
    TurnBegun,
    turn_id=st.uuids().map(str),
    conversation_id=text.filter(bool),
    caller=maybe_text,
    provider=st.sampled_from(["openai", "anthropic", "groq", "google"]),
    model=text,
    question=maybe_text,
    question_parts=maybe_text,
    tool_results=_tuples(st.builds(ToolResult, text, text, text)),
    started_ms=moment,
    request_hash=text,
    request_id=text,
    idempotency_key=maybe_text,
    streamed=st.booleans(),
    simulated=st.booleans(),
    charged_on=st.none() | st.dates().map(str),
    uncounted=st.booleans(),
)
errors = st.builds(TurnError, code, text, st.booleans(), st.none() | st.floats(0, 1e6), st.none() | st.integers(100, 599), text)
records = st.builds(
    TurnRecord,
    begun_turns,
    st.builds(
        TurnEnded,
        status=st.sampled_from(["completed", "stopped", "interrupted", "failed"]),
        provider=text,
        model=text,
        reply=replies,
        ended_ms=moment,
        first_output_ms=st.none() | moment,
        cost_usd=st.none() | st.floats(0, 1e3),
        error=st.none() | errors,
        attempts=_tuples(st.builds(Attempt, text, text, code, st.none() | st.integers(100, 599))),
        abandoned=st.booleans(),
        cached=st.booleans(),
        question_hash=maybe_text,
    ),
)
