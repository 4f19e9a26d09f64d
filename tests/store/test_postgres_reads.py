"""What turns read back of their conversation."""

import asyncpg

from gateway.core.history import NO_RESULT
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
from gateway.store.base import Viewer
from gateway.store.postgres import PostgresStore
from tests.store.samples import IMAGE_PARTS, turn

ADMIN = Viewer(None, everything=True)
CALLS = (ToolCall("call_1", "get_entry", {"id": 7}), ToolCall("call_2", "search", {}, "ليس JSON"))
STATE = {"signature": "abc=="}


def asked(text: str) -> UserMessage:
    return UserMessage((TextPart(text),))


def told(message: Message) -> str:
    return message.text if isinstance(message, UserMessage | AssistantMessage) else "(results)"


async def test_history_is_completed_and_stopped_turns_in_order(store: PostgresStore) -> None:
    for status in ("completed", "failed", "interrupted", "stopped"):
        await store.put([turn(question=f"سؤال {status}", content=f"جواب {status}", status=status)])
    await store.put([turn("other")])
    assert await store.history("conv-1", ADMIN, 100) == (
        asked("سؤال completed"),
        AssistantMessage("جواب completed"),
        asked("سؤال stopped"),
        AssistantMessage("جواب stopped"),
    )
    assert await store.history("unknown", ADMIN, 100) == ()


async def test_history_holds_calls_results_states_and_images(store: PostgresStore) -> None:
    calling = turn(question="ما هذا؟", question_parts=IMAGE_PARTS, tool_calls=CALLS, state=STATE, provider="google", model="g-3")
    await store.put([calling])
    await store.put([turn(question=None, content="كتاب", tool_results=(ToolResult("call_1", "get_entry", "نتيجة\nثانية"),))])
    await store.put([turn(question="شكرًا", content="عفوًا")])
    assert await store.history("conv-1", ADMIN, 100) == (
        UserMessage((TextPart("ما هذا؟"), ImagePart("https://example.org/i.png"))),
        AssistantMessage(calling.ended.reply.content, CALLS, KeptState("google", "g-3", STATE)),
        ToolResults((ToolResult("call_1", "get_entry", "نتيجة\nثانية"), ToolResult("call_2", "search", NO_RESULT))),
        AssistantMessage("كتاب"),
        asked("شكرًا"),
        AssistantMessage("عفوًا"),
    )


async def test_results_of_a_follow_up_that_failed_end_the_history(store: PostgresStore) -> None:
    """A question that comes next finds them there; tool entries that come again take their place in the prompt."""
    await store.put([turn(tool_calls=CALLS)])
    failed = turn(question=None, status="failed", tool_results=(ToolResult("call_1", "get_entry", "1"),))
    await store.put([failed])
    history = await store.history("conv-1", ADMIN, 100)
    assert isinstance(history[-2], AssistantMessage)
    assert history[-2].tool_calls == CALLS
    assert history[-1] == ToolResults((ToolResult("call_1", "get_entry", "1"), ToolResult("call_2", "search", NO_RESULT)))


async def test_history_is_cut_at_a_question(store: PostgresStore) -> None:
    for number in range(60):
        await store.put([turn(question=f"س{number}", content=f"ج{number}")])
    assert [told(message) for message in await store.history("conv-1", ADMIN, 5)] == ["س58", "ج58", "س59", "ج59"]
    assert [told(message) for message in await store.history("conv-1", ADMIN, 2)] == ["س59", "ج59"]
    assert len(await store.history("conv-1", ADMIN, 100)) == 100
    assert len(await store.history("conv-1", ADMIN, 1000)) == 120


async def test_rounds_of_tools_keep_their_question_however_many(store: PostgresStore) -> None:
    await store.put([turn(question="قديم")])
    await store.put([turn(question="ابحث", tool_calls=CALLS[:1])])
    for number in range(6):
        results = (ToolResult("call_1", "get_entry", str(number)),)
        await store.put([turn(question=None, tool_results=results, tool_calls=CALLS[:1])])
    history = await store.history("conv-1", ADMIN, 4)
    assert history[0] == asked("ابحث")
    assert len(history) == 1 + 7 + 7


async def test_turns_that_ran_at_the_same_time_do_not_mix(store: PostgresStore) -> None:
    slow = turn(question="بطيء", content="ج1", started_ms=1_760_000_000_000, ended_ms=1_760_000_009_000)
    quick = turn(question="سريع", content="ج2", started_ms=1_760_000_001_000, ended_ms=1_760_000_002_000)
    await store.put([quick])
    await store.put([slow])
    expected = ["بطيء", "ج1", "سريع", "ج2"]
    assert [told(message) for message in await store.history("conv-1", ADMIN, 100)] == expected
    shown = await store.conversation("conv-1", ADMIN)
    assert shown is not None
    assert [message["content"] for message in shown["messages"]] == expected


async def test_an_empty_reply_is_no_message(store: PostgresStore) -> None:
    await store.put([turn(question="س1", content="", status="stopped")])
    await store.put([turn(question="س2")])
    assert [told(message) for message in await store.history("conv-1", ADMIN, 100)] == ["س1", "س2", "ما يُكتب فيه"]


async def test_history_is_for_those_who_may_see_it(store: PostgresStore) -> None:
    await store.put([turn("owned", "سري", caller="user:1")])
    await store.put([turn("open", "لا أحد", caller=None)])
    await store.put([turn("open", "ضيف", caller="user:1")])

    async def questions(conversation: str, viewer: Viewer) -> list[str]:
        return [told(message) for message in await store.history(conversation, viewer, 100) if isinstance(message, UserMessage)]

    assert await questions("owned", Viewer("user:1")) == ["سري"]
    assert await questions("owned", Viewer("user:2")) == []
    assert await questions("owned", Viewer(None)) == []
    assert await questions("owned", ADMIN) == ["سري"]
    assert await questions("open", Viewer("user:1")) == ["ضيف"]
    assert await questions("open", Viewer("user:2")) == []
    assert await questions("open", Viewer(None)) == ["لا أحد"]
    assert await questions("open", ADMIN) == ["لا أحد", "ضيف"]


async def test_who_may_add(store: PostgresStore) -> None:
    await store.put([turn("owned", caller="user:1"), turn("open")])
    assert await store.access("owned", "user:1")
    assert not await store.access("owned", "user:2")
    assert not await store.access("owned", None)
    assert await store.access("open", "user:2")
    assert await store.access("open", None)
    assert await store.access("new", None)


async def test_states_of_the_calls_that_this_conversation_issued(store: PostgresStore) -> None:
    await store.put([turn(tool_calls=CALLS, state=STATE, provider="anthropic", model="c-5")])
    await store.put([turn("other", tool_calls=(ToolCall("call_9", "x", {}),), state={"n": 9})])
    await store.put([turn(tool_calls=(ToolCall("call_3", "x", {}),))])
    kept = KeptState("anthropic", "c-5", STATE)
    assert await store.states("conv-1", ["call_1", "call_2", "call_3", "call_9", "unknown"]) == {"call_1": kept, "call_2": kept}
    assert await store.states("conv-1", []) == {}


async def test_issued_calls_are_those_a_result_may_answer(store: PostgresStore) -> None:
    assert await store.issued("conv-1", None) == ()
    await store.put([turn(tool_calls=CALLS)])
    assert await store.issued("conv-1", None) == ("call_1", "call_2")
    assert await store.issued("conv-1", "user:1") == ()
    results = (ToolResult("call_1", "get_entry", "1"), ToolResult("call_2", "search", "2"))
    await store.put([turn(question=None, status="failed", tool_results=results)])
    assert await store.issued("conv-1", None) == ("call_1", "call_2"), "the same follow-up may come again"
    await store.put([turn(question=None, tool_results=results)])
    assert await store.issued("conv-1", None) == ()


async def test_calls_left_open_may_be_answered_later(store: PostgresStore) -> None:
    await store.put([turn(tool_calls=CALLS)])
    results = (ToolResult("call_1", "get_entry", "1"),)
    await store.put([turn(question=None, tool_results=results, tool_calls=(ToolCall("call_3", "x", {}),))])
    assert await store.issued("conv-1", None) == ("call_3", "call_2")


async def test_a_turn_that_is_not_there(store: PostgresStore) -> None:
    assert await store.turn("0199aaaa-0000-7000-8000-000000000000") is None
    assert await store.turn("no id at all") is None


async def test_rows_edited_by_hand_do_no_harm(store: PostgresStore, database_url: str) -> None:
    record = turn(tool_calls=CALLS)
    await store.put([record])
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE tool_calls SET arguments = 'broken', result = '\"half', arguments_text = NULL")
    await connection.execute(
        "UPDATE messages SET content = NULL, parts = '[1, {\"type\": \"x\"}]', layout = 'r9' WHERE role = 'user'"
    )
    await connection.close()
    found = await store.turn(record.begun.turn_id)
    assert found is not None
    assert found.record.ended.reply.tool_calls[0] == ToolCall("call_1", "get_entry", {}, "broken")
    assert (await store.history("conv-1", ADMIN, 10))[0] == asked("")
