"""History repair: whatever a client sends, every call has an id of its own and exactly one result, or the answer is 422."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import GatewayError
from gateway.core.history import NO_RESULT, is_blank, pair, repair, system_text
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    KeptState,
    Message,
    TextPart,
    ToolCall,
    ToolResult,
    ToolResults,
    UserMessage,
)
from gateway.core.request import Entry, RawCall

IDS = st.sampled_from([None, "", "a", "b", "call_0", "call_1"])
USERS = st.builds(
    Entry, st.just("user"), st.sampled_from([(), (TextPart("  "),), (TextPart("سؤال"),), (ImagePart("https://i"),)])
)
SYSTEMS = st.builds(Entry, st.just("system"), st.just((TextPart("كن موجزا"),)))
CALLS = st.lists(st.builds(RawCall, IDS, st.sampled_from(["f", "g"]), st.just({"x": 1})), max_size=4).map(tuple)


def assistant(text: str, calls: tuple[RawCall, ...] = ()) -> Entry:
    return Entry("assistant", (TextPart(text),) if text else (), calls)


def tool(call_id: str | None, content: str) -> Entry:
    return Entry("tool", (TextPart(content),), call_id=call_id)


def user(text: str) -> Entry:
    return Entry("user", (TextPart(text),))


@st.composite
def rounds(draw: st.DrawFn) -> list[Entry]:
    """Turns as clients keep them: calls, then at most as many results, in any order, with right, wrong or no ids."""
    entries: list[Entry] = []
    for number in range(draw(st.integers(0, 4))):
        entries += draw(st.lists(USERS | SYSTEMS, max_size=2))
        calls = draw(CALLS)
        entries.append(assistant(draw(st.sampled_from(["", " ", "نص"])), calls))
        ids = draw(st.permutations([call.id for call in calls]))[: draw(st.integers(0, len(calls)))]
        results = [tool(draw(st.just(call_id) | IDS), f"نتيجة {number}.{index}") for index, call_id in enumerate(ids)]
        for result in results:
            entries += [result, *draw(st.lists(SYSTEMS, max_size=1))]
    return entries + draw(st.lists(USERS, max_size=1))


def check(messages: tuple[Message, ...]) -> None:
    """The invariant of a prompt: unique ids, and one result for each call, in order, right behind it."""
    ids = [call.id for message in messages if isinstance(message, AssistantMessage) for call in message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    for before, message in pairwise([None, *messages, None]):
        asked = before.tool_calls if isinstance(before, AssistantMessage) else ()
        answered = message.results if isinstance(message, ToolResults) else ()
        assert [(call.id, call.name) for call in asked] == [(result.call_id, result.name) for result in answered]
        assert not (isinstance(message, ToolResults) and not message.results)


@given(rounds())
def test_repaired_histories_hold(entries: list[Entry]) -> None:
    messages = repair(entries)
    check(messages)
    results = [result.content for message in messages if isinstance(message, ToolResults) for result in message.results]
    given_results = [entry.text for entry in entries if entry.role == "tool"]
    assert sorted(content for content in results if content != NO_RESULT) == sorted(given_results)
    said = [entry.text for entry in entries if entry.role == "assistant" and (entry.text.strip() or entry.calls)]
    assert [message.text for message in messages if isinstance(message, AssistantMessage)] == said
    asked = [entry.parts for entry in entries if entry.role == "user" and not is_blank(entry)]
    assert [message.parts for message in messages if isinstance(message, UserMessage)] == asked


@given(st.lists(st.one_of(USERS, SYSTEMS, st.builds(tool, IDS, st.just("r")), st.builds(assistant, st.just(""), CALLS))))
def test_any_history_is_repaired_or_refused(entries: list[Entry]) -> None:
    refused: GatewayError | None = None
    try:
        check(repair(entries))
    except GatewayError as error:
        refused = error
    if refused is not None:
        assert (refused.code, refused.status) == ("invalid_request", 422)
        assert entries[int(refused.fields[0][0].removeprefix("messages."))].role == "tool"


@given(rounds(), rounds())
def test_new_entries_go_behind_the_logs_history(before: list[Entry], entries: list[Entry]) -> None:
    earlier = repair(before)
    messages = repair(entries, earlier)
    check(messages)
    assert messages[: len(earlier)] == earlier


@given(st.lists(IDS, max_size=6), st.lists(IDS, max_size=6))
def test_pairing_by_id_first_then_by_order(asked: list[str | None], answered: list[str | None]) -> None:
    found = pair(asked, answered)
    used = [answer for answer in found if answer is not None]
    assert len(found) == len(asked)
    assert len(set(used)) == len(used) == min(len(asked), len(answered))
    by_id = [answer for call_id, answer in zip(asked, found, strict=True) if answer is not None and answered[answer] == call_id]
    for call_id in {call_id for call_id in asked if call_id}:
        matches = sum(answered[answer] == call_id for answer in by_id)
        assert matches == min(asked.count(call_id), answered.count(call_id))
    rest = [answer for answer in used if answer not in by_id]
    assert rest == sorted(rest)


CALL_A, CALL_B = ToolCall("a", "f", {}, "raw"), ToolCall("b", "g", {})
STATE = KeptState("google", "m", {"signature": "س"})
ASKED = (UserMessage((TextPart("سؤال"),)), AssistantMessage("", (CALL_A, CALL_B), STATE))


def results(first: str, second: str) -> ToolResults:
    return ToolResults((ToolResult("a", "f", first), ToolResult("b", "g", second)))


@pytest.mark.parametrize("stood", [(), (results(NO_RESULT, NO_RESULT),), (results("قديم", NO_RESULT),)])
def test_tool_entries_answer_the_calls_at_the_end_of_the_log(stood: tuple[Message, ...]) -> None:
    assert repair([tool("b", "ثان"), tool("a", "أول")], (*ASKED, *stood)) == (*ASKED, results("أول", "ثان"))
    assert repair([tool(None, "أول"), tool(None, "ثان")], (*ASKED, *stood)) == (*ASKED, results("أول", "ثان"))


def test_what_the_log_knows_of_a_result_stays_where_nothing_better_comes() -> None:
    earlier = (*ASKED, results("قديم", NO_RESULT))
    question = UserMessage((TextPart("وماذا بعد؟"),))
    assert repair([tool("b", "ثان")], earlier) == (*ASKED, results("قديم", "ثان"))
    assert repair([user("وماذا بعد؟")], earlier) == (*earlier, question)
    assert repair([user("وماذا بعد؟")], ASKED) == (*ASKED, results(NO_RESULT, NO_RESULT), question)


def test_ids_that_a_provider_issued_twice_are_told_apart() -> None:
    earlier = (*ASKED, results("١", "٢"), AssistantMessage("", (CALL_A,)), ToolResults((ToolResult("a", "f", "٣"),)))
    messages = repair([tool("a", "٤")], earlier)
    check(messages)
    assert messages[:3] == earlier[:3]
    last = messages[-1]
    assert isinstance(last, ToolResults)
    assert [result.content for result in last.results] == ["٤"]


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ([tool("a", "r")], 0),
        ([user("x"), tool("a", "r")], 1),
        ([assistant("", (RawCall("a", "f", {}),)), tool("a", "r"), tool("a", "r")], 2),
        ([assistant("", (RawCall("a", "f", {}),)), user("x"), tool("a", "r")], 2),
        ([assistant("نص"), tool("a", "r")], 1),
    ],
)
def test_a_result_that_nothing_asked_for_is_refused(entries: list[Entry], place: int) -> None:
    with pytest.raises(GatewayError) as refused:
        repair(entries)
    assert refused.value.status == 422
    assert refused.value.fields[0][0] == f"messages.{place}"


def test_system_prompts_are_joined_in_order() -> None:
    entries = [
        Entry("system", (TextPart("ثانيا"),)),
        user("x"),
        Entry("system", (TextPart(" "),)),
        Entry("system", (TextPart("ثالثا"),)),
    ]
    assert system_text("أولا", entries) == "أولا\n\nثانيا\n\nثالثا"
    assert system_text(None, entries) == "ثانيا\n\nثالثا"
    assert system_text(" ", [user("x")]) is None


def test_many_calls_with_hostile_ids_are_repaired_in_no_time() -> None:
    taken = [
        assistant("", tuple(RawCall(f"call_{256 * entry + index}", "f", {}) for index in range(256))) for entry in range(100)
    ]
    again = [assistant("", tuple(RawCall("call_0", "f", {}) for _ in range(256))) for _ in range(100)]
    check(repair([*taken, *again]))
