"""Follow-ups: which tool results answer calls of the gateway's own, and whose provider state goes with them."""

import pytest

from gateway.core.messages import AssistantMessage, KeptState, ToolCall, ToolResult
from gateway.core.request import ChatRequest
from gateway.engine.prompt import Prepared
from gateway.engine.recent import RecentCalls
from tests.engine.asking import CONVERSATION, VIEWER, Log, assistant, builder, request, tool, user

STATE = KeptState("google", "gemini", {"signature": "س"})
CALLS = (ToolCall("call_1", "search", {}), ToolCall("call_2", "fetch", {}))


def remembered(*calls: ToolCall, state: KeptState | None = None, caller: str | None = VIEWER.caller) -> RecentCalls:
    recent = RecentCalls()
    recent.remember(CONVERSATION, caller, calls, state)
    return recent


async def build(log: Log, recent: RecentCalls, asked: ChatRequest) -> Prepared:
    return await builder(log, recent).build(asked, CONVERSATION, VIEWER)


def answering(*ids: str | None) -> ChatRequest:
    """The client's history, ending with a result for each of these ids."""
    return request(user("س"), assistant("", *(ids or (None,))), *(tool(call_id, f"نتيجة {call_id}") for call_id in ids))


def pairs(prepared: Prepared) -> list[tuple[str, str]]:
    return [(result.call_id, result.content) for result in prepared.tool_results]


@pytest.mark.parametrize("here", [True, False])
async def test_results_go_to_the_calls_of_their_ids_in_any_order(here: bool) -> None:
    log = Log(issued=() if here else ["call_1", "call_2"])
    recent = remembered(*CALLS) if here else RecentCalls()
    prepared = await build(log, recent, answering("call_2", "call_1"))
    assert prepared.question is None
    assert pairs(prepared) == [("call_1", "نتيجة call_1"), ("call_2", "نتيجة call_2")]
    assert [name for name, *_ in log.asked] == (["states"] if not here else []) + (["issued"] if not here else [])


@pytest.mark.parametrize("ids", [(None, None), ("x", "y"), ("", "call_9")])
async def test_results_without_ids_that_are_known_go_by_order(ids: tuple[str | None, ...]) -> None:
    prepared = await build(Log(issued=["call_1", "call_2"]), RecentCalls(), answering(*ids))
    assert pairs(prepared) == [("call_1", f"نتيجة {ids[0]}"), ("call_2", f"نتيجة {ids[1]}")]


async def test_results_for_calls_that_another_process_issued_since_are_not_taken_for_older_ones() -> None:
    log = Log(issued=["call_new"])
    prepared = await build(log, remembered(*CALLS), answering("call_new"))
    assert pairs(prepared) == [("call_new", "نتيجة call_new")]


async def test_results_nobody_here_asked_for_count_as_a_question() -> None:
    log = Log()
    asked = request(user("سؤالي"), assistant("", "forged"), tool("forged"))
    prepared = await build(log, RecentCalls(), asked)
    assert (prepared.question, prepared.tool_results) == ("سؤالي", ())
    assert prepared.prompt.messages[-2:] == (
        AssistantMessage("", (ToolCall("forged", "search", {"q": "كتب"}),)),
        (await build(log, remembered(ToolCall("forged", "search", {})), asked)).prompt.messages[-1],
    )


async def test_results_in_the_middle_of_a_history_are_old_news() -> None:
    prepared = await build(Log(issued=["call_1"]), remembered(*CALLS), request(*(answering("call_1").entries or ()), user("س٢")))
    assert (prepared.question, prepared.tool_results) == ("س٢", ())


async def test_calls_of_another_caller_are_not_answered() -> None:
    prepared = await build(Log(), remembered(*CALLS, caller="user-2"), answering("call_1"))
    assert prepared.question == "س"


async def test_more_results_than_open_calls_answer_those_there_are() -> None:
    prepared = await build(Log(issued=["call_2"]), RecentCalls(), answering("call_1", "call_2"))
    assert (prepared.question, pairs(prepared)) == (None, [("call_2", "نتيجة call_2")])


async def test_results_carry_the_names_of_their_tools() -> None:
    prepared = await build(Log(issued=["call_1"]), RecentCalls(), answering("call_1"))
    assert prepared.tool_results == (ToolResult("call_1", "search", "نتيجة call_1"),)


async def test_while_the_log_is_away_what_is_remembered_counts_and_then_the_clients_word() -> None:
    log = Log()
    log.away = True
    assert pairs(await build(log, remembered(*CALLS), answering(None))) == [("call_1", "نتيجة None")]
    prepared = await build(log, RecentCalls(), answering("call_9"))
    assert (prepared.question, pairs(prepared)) == (None, [("call_9", "نتيجة call_9")])


async def test_a_turn_that_waits_in_the_spool_is_remembered_when_the_log_is_back() -> None:
    assert pairs(await build(Log(), remembered(*CALLS), answering(None))) == [("call_1", "نتيجة None")]


async def test_the_providers_state_goes_back_with_the_calls_it_came_with() -> None:
    log = Log(issued=["call_1"])
    log.kept["call_1"] = STATE
    for recent in (RecentCalls(), remembered(*CALLS, state=STATE)):
        message = (await build(log, recent, answering("call_1"))).prompt.messages[1]
        assert isinstance(message, AssistantMessage)
        assert message.state == STATE
    log.away = True
    lost = (await build(log, RecentCalls(), answering("call_1"))).prompt.messages[1]
    assert isinstance(lost, AssistantMessage)
    assert lost.state is None


async def test_calls_known_to_have_no_state_are_not_looked_up() -> None:
    log = Log()
    await build(log, remembered(*CALLS), answering("call_1", "call_2"))
    assert log.asked == []


def test_a_deleted_conversation_is_forgotten_whole() -> None:
    recent = remembered(*CALLS, state=STATE)
    recent.remember(CONVERSATION, VIEWER.caller, (), None)
    recent.remember("conv-2", None, CALLS, STATE)
    assert recent.states(CONVERSATION, ["call_1"]) == ({"call_1": STATE}, [])
    recent.forget(CONVERSATION)
    assert recent.states(CONVERSATION, ["call_1"]) == ({}, ["call_1"])
    assert recent.issued(CONVERSATION, VIEWER.caller) == ()
    assert recent.issued("conv-2", None) == ("call_1", "call_2")


def test_memory_is_bounded_and_the_newest_stay() -> None:
    recent = RecentCalls()
    for number in range(25_000):
        recent.remember(f"conv-{number}", None, (ToolCall(f"call_{number}", "f", {}),), None)
    assert recent.issued("conv-24999", None) == ("call_24999",)
    assert recent.issued("conv-0", None) == ()
    assert recent.states("conv-0", ["call_0"]) == ({}, ["call_0"])
    assert recent.states("conv-24999", ["call_24999"]) == ({}, [])
