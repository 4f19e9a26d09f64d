"""The fold: what a provider's events amount to as a reply."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.errors import GatewayError
from gateway.core.fold import Fold, parse_arguments
from gateway.core.jsontext import dumps
from gateway.core.messages import ToolCall
from tests.core.tape_events import ARGUMENTS, EVENTS, SEQUENCES, folded

FAILED = ev.Failed(GatewayError("provider_error", "broken"))


@given(SEQUENCES)
def test_text_and_reasoning_come_back_as_they_came(events: list[ev.Event]) -> None:
    reply = folded(events).reply()
    assert reply.content == "".join(event.text for event in events if isinstance(event, ev.TextDelta))
    reasoning = "".join(event.text for event in events if isinstance(event, ev.ReasoningDelta))
    assert "".join(thought.content for thought in reply.thoughts) == reasoning
    assert [call.name for call in reply.tool_calls] == [event.name for event in events if isinstance(event, ev.ToolCalled)]
    assert [thought.iteration for thought in reply.thoughts] == list(range(1, len(reply.thoughts) + 1))


@given(SEQUENCES)
def test_call_ids_are_unique_and_the_providers_own_where_they_can_be(events: list[ev.Event]) -> None:
    calls = folded(events).reply().tool_calls
    assert len({call.id for call in calls}) == len(calls)
    given_ids = [event.id for event in events if isinstance(event, ev.ToolCalled)]
    for index, (call, given_id) in enumerate(zip(calls, given_ids, strict=True)):
        assert call.id == given_id or given_id is None or given_id in given_ids[:index]


@given(SEQUENCES, EVENTS, st.sampled_from([ev.Finished("length"), FAILED]))
def test_nothing_counts_behind_the_terminal_event(
    events: list[ev.Event], late: ev.Event, terminal: ev.Finished | ev.Failed
) -> None:
    fold = folded([*events, terminal])
    before = fold.reply()
    for event in (late, ev.Finished("stop"), FAILED):
        fold.add(event)
    assert (fold.reply(), fold.terminal) == (before, terminal)


@given(SEQUENCES)
def test_size_is_at_least_what_a_client_must_be_sent(events: list[ev.Event]) -> None:
    fold = folded(events)
    reply = fold.reply()
    texts = [reply.content, *(thought.content for thought in reply.thoughts), *(source.title or "" for source in reply.sources)]
    assert fold.size >= sum(len(text.encode()) for text in texts)
    assert fold.size >= sum(len(call.arguments_text or "") for call in reply.tool_calls)


def test_size_counts_the_arguments_that_come_as_an_object() -> None:
    arguments = {"نص": "كلمة" * 1000}
    assert folded([ev.ToolCalled("call_1", "save", arguments)]).size >= len(dumps(arguments))


def test_thoughts_name_the_calls_they_led_to_and_when_they_began() -> None:
    seconds = count(10)
    fold = Fold(lambda: float(next(seconds)))
    for event in (
        ev.ReasoningDelta("أبحث"),
        ev.ReasoningDelta(" أولا"),
        ev.ToolCalled("a", "search", "{}"),
        ev.TextDelta("ثم"),
        ev.ToolCalled("b", "fetch", "{}"),
        ev.ReasoningDelta("وجدت"),
    ):
        fold.add(event)
    first, second = fold.reply().thoughts
    assert (first.content, first.tool_calls, first.timestamp) == ("أبحث أولا", ("search", "fetch"), 10_000)
    assert (second.content, second.tool_calls, second.iteration) == ("وجدت", (), 2)


def test_later_counts_win_field_by_field_and_absent_is_not_zero() -> None:
    fold = folded([ev.UsageReported(input_tokens=5, cached_tokens=0), ev.UsageReported(output_tokens=7, input_tokens=6)])
    assert fold.usage == ev.UsageReported(input_tokens=6, output_tokens=7, cached_tokens=0)
    assert fold.usage.reasoning_tokens is None


def test_another_try_starts_with_counts_and_state_of_its_own() -> None:
    fold = folded([ev.UsageReported(input_tokens=5), ev.StateKept({"a": 1}), ev.Rerouted("switched", "groq", "m")])
    assert fold.usage == ev.UsageReported()
    assert fold.state is None
    assert not fold.has_output
    fold.add(ev.TextDelta("م"))
    assert fold.has_output


def test_state_that_cannot_be_written_again_is_not_kept() -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    assert folded([ev.StateKept({"signature": "س"})]).reply().state == {"signature": "س"}
    assert folded([ev.StateKept({"a": 1}), ev.StateKept({"deep": deep})]).reply().state is None


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], None),
        ([FAILED], None),
        ([ev.Finished("stop")], "stop"),
        ([ev.ToolCalled("a", "f", "{}"), ev.Finished("stop")], "tool_calls"),
        ([ev.ToolCalled("a", "f", "{}"), ev.Finished("length")], "length"),
        ([ev.Finished("tool_calls")], "tool_calls"),
    ],
)
def test_finish_reason(events: list[ev.Event], reason: str | None) -> None:
    assert folded(events).reply().finish_reason == reason


def test_sources_are_numbered_and_come_once() -> None:
    web = ev.SourceFound("web", "معجم", "https://a.example")
    fold = folded([web, ev.SourceFound("web", "لسان", "https://a.example"), web])
    assert [(source.id, source.title) for source in fold.reply().sources] == [("1", "معجم"), ("2", "لسان")]


@given(ARGUMENTS)
def test_arguments_are_always_an_object(arguments: str | dict[str, object]) -> None:
    value, raw = parse_arguments(arguments)
    assert isinstance(value, dict)
    assert raw is None or (raw == arguments and value == {})
    assert dumps(ToolCall("a", "f", value, raw))


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        ('{"كلمة": "\\u0000\\ud800"}', ({"كلمة": "\ufffd\ufffd"}, None)),
        ("  ", ({}, None)),
        ("[1]", ({}, "[1]")),
        ('{"a": 1', ({}, '{"a": 1')),
        ('{"a": 1e999}', ({}, '{"a": 1e999}')),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", ({}, '{"a": ' + "[" * 300 + "]" * 300 + "}")),
    ],
)
def test_arguments_that_are_no_object_are_kept_as_text(arguments: str, parsed: tuple[dict[str, object], str | None]) -> None:
    assert parse_arguments(arguments) == parsed
