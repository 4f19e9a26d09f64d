"""Prompts: what the client sent, what the log adds, what counts as a question and what as an answer to a call."""

import json

import pytest

from gateway.core.errors import GatewayError
from gateway.core.history import NO_RESULT
from gateway.core.messages import (
    AssistantMessage,
    KeptState,
    Message,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.core.request import ChatRequest
from gateway.engine.prompt import Prepared
from gateway.engine.recent import RecentCalls
from tests.engine.asking import CONVERSATION, LIMIT, VIEWER, Log, assistant, builder, request, system, tool, user

STATE = KeptState("google", "gemini", {"signature": "س"})
QUESTION = UserMessage((TextPart("سؤال قديم"),))
ANSWER = AssistantMessage("جواب قديم")
ASKING = AssistantMessage("", (ToolCall("call_1", "search", {}), ToolCall("call_2", "fetch", {})), STATE)


def results(first: str, second: str) -> ToolResults:
    return ToolResults((ToolResult("call_1", "search", first), ToolResult("call_2", "fetch", second)))


async def build(log: Log, asked: ChatRequest, recent: RecentCalls | None = None) -> Prepared:
    return await builder(log, recent).build(asked, asked.conversation_id or "conv-new", VIEWER)


async def refusal(log: Log, asked: ChatRequest) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        await build(log, asked)
    return refused.value


async def test_a_message_alone_goes_behind_the_logs_history() -> None:
    log = Log([QUESTION, ANSWER])
    prepared = await build(log, request(message="وماذا بعد؟"))
    assert prepared.prompt.messages == (QUESTION, ANSWER, UserMessage((TextPart("وماذا بعد؟"),)))
    assert (prepared.question, prepared.question_parts, prepared.tool_results) == ("وماذا بعد؟", None, ())
    assert log.asked == [("history", CONVERSATION, VIEWER, LIMIT)]


async def test_a_new_conversation_asks_the_log_nothing() -> None:
    log = Log()
    log.away = True
    for asked in (request(message="مرحبا", conversation_id=None), request(user("مرحبا"), conversation_id=None)):
        prepared = await build(log, asked)
        assert prepared.prompt.messages == (UserMessage((TextPart("مرحبا"),)),)
        assert prepared.question == "مرحبا"
    results_only = request(user("س"), assistant("", "call_1"), tool("call_1"), conversation_id=None)
    assert (await build(log, results_only)).question == "س"
    assert log.asked == []


async def test_the_clients_history_is_taken_as_it_is() -> None:
    log = Log([QUESTION, ANSWER])
    prepared = await build(log, request(user("س١"), assistant("ج١"), user("س٢")))
    assert [getattr(message, "text", "") for message in prepared.prompt.messages] == ["س١", "ج١", "س٢"]
    assert prepared.question == "س٢"
    assert log.asked == []


async def test_with_both_given_a_new_last_entry_wins_and_an_old_one_is_gone_on_from() -> None:
    ignored = await build(Log(), request(user("س١"), assistant("ج١"), user("س٢"), message="لا"))
    assert ignored.question == "س٢"
    appended = await build(Log(), request(user("س١"), assistant("ج١"), message="س٢"))
    assert appended.question == "س٢"
    assert appended.prompt.messages == ignored.prompt.messages
    only_system = await build(Log([QUESTION, ANSWER]), request(system("كن موجزا"), message="س"))
    assert only_system.prompt.messages == (UserMessage((TextPart("س"),)),)


@pytest.mark.parametrize(
    "asked",
    [
        request(user("س"), assistant("ج")),
        request(user("س"), assistant("", "call_1")),
        request(user("س"), assistant("ج"), system("كن موجزا")),
        request(system("كن موجزا")),
        request(user("س"), assistant("ج"), user("  ")),
        request(user("س"), assistant("", "call_1"), tool("call_1"), user("")),
        request(user("س"), tool("call_1")),
        request(tool("call_1")),
        request(user("س"), assistant("", "call_1"), tool("call_1"), tool("call_1")),
    ],
)
async def test_what_asks_nothing_new_is_refused(asked: ChatRequest) -> None:
    error = await refusal(Log([QUESTION, ANSWER], ["call_1"]), asked)
    assert (error.code, error.status) == ("invalid_request", 422)
    assert error.fields


async def test_places_in_a_refusal_are_the_clients_own() -> None:
    error = await refusal(Log(), request(user("س"), system("أولا"), system("ثانيا"), tool("call_1")))
    assert error.fields[0][0] == "messages.3"


async def test_system_prompts_are_joined_and_stand_apart() -> None:
    asked = request(system("ثانيا"), user("س"), system("ثالثا"), system_prompt="أولا")
    prepared = await build(Log(), asked)
    assert prepared.prompt.system == "أولا\n\nثانيا\n\nثالثا"
    assert prepared.prompt.messages == (UserMessage((TextPart("س"),)),)


async def test_the_rest_of_the_request_is_passed_on() -> None:
    tools = (ToolSpec("search", "بحث", {}),)
    choice = ToolChoice("named", "search")
    asked = request(user("س"), tools=tools, tool_choice=choice, temperature=0.5, max_tokens=100_000)
    prompt = (await build(Log(), asked)).prompt
    assert (prompt.tools, prompt.tool_choice, prompt.temperature, prompt.max_tokens) == (tools, choice, 0.5, 8192)
    assert (await build(Log(), request(user("س"), max_tokens=7))).prompt.max_tokens == 7
    assert (await build(Log(), request(user("س")))).prompt.max_tokens == 8192


async def test_images_are_kept_with_the_question() -> None:
    prepared = await build(Log(), request(user("ما هذا؟", "https://image.example/a.png")))
    assert prepared.question == "ما هذا؟"
    assert json.loads(prepared.question_parts or "") == [
        {"type": "text", "text": "ما هذا؟"},
        {"type": "image_url", "image_url": {"url": "https://image.example/a.png"}},
    ]
    alone = await build(Log(), request(user("", "data:image/png;base64,AA")))
    assert alone.question == ""
    assert alone.question_parts


async def test_without_the_log_a_history_of_the_clients_own_still_works() -> None:
    log = Log()
    log.away = True
    assert (await build(log, request(user("س١"), assistant("ج١"), user("س٢")))).question == "س٢"
    for asked in (request(message="س"), request(tool("call_1"))):
        error = await refusal(log, asked)
        assert (error.code, error.status, error.retryable) == ("log_unavailable", 503, True)
        assert error.retry_after


@pytest.mark.parametrize("stood", [(), (results(NO_RESULT, NO_RESULT),), (results("قديمة", NO_RESULT),)])
@pytest.mark.parametrize("ids", [("call_1", "call_2"), (None, None), ("x", "y")])
async def test_tool_entries_alone_answer_the_calls_at_the_end_of_the_log(
    stood: tuple[Message, ...], ids: tuple[str | None, str | None]
) -> None:
    log = Log([QUESTION, ASKING, *stood], ["call_1", "call_2"])
    prepared = await build(log, request(system("كن موجزا"), tool(ids[0], "أولى"), tool(ids[1], "ثانية"), message="يهمل"))
    assert prepared.prompt.messages == (QUESTION, ASKING, results("أولى", "ثانية"))
    assert prepared.prompt.system == "كن موجزا"
    assert prepared.question is None
    assert prepared.tool_results == results("أولى", "ثانية").results


async def test_one_result_of_two_leaves_the_other_as_it_stood() -> None:
    log = Log([QUESTION, ASKING, results(NO_RESULT, "قديمة")], ["call_1", "call_2"])
    prepared = await build(log, request(tool("call_1", "جديدة")))
    assert prepared.prompt.messages[-1] == results("جديدة", "قديمة")
    assert prepared.tool_results == (ToolResult("call_1", "search", "جديدة"),)


async def test_a_question_behind_open_calls_closes_them() -> None:
    prepared = await build(Log([QUESTION, ASKING], ["call_1"]), request(message="دعك من هذا"))
    assert prepared.prompt.messages == (QUESTION, ASKING, results(NO_RESULT, NO_RESULT), UserMessage((TextPart("دعك من هذا"),)))
    assert prepared.question == "دعك من هذا"
