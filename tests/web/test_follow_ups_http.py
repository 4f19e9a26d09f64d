"""Tool results: under whatever ids they come, they go to the calls that asked, in the request and in the log."""

import json
from typing import Any

import pytest

from simulator import parse_text
from tests.running import PROVIDERS, Gateway, Told
from tests.web.shapes import check_problem

TOOLS = [
    {
        "name": "search_root",
        "description": "يبحث عن جذر",
        "parameters": {"type": "object", "properties": {"root": {"type": "string"}}, "required": ["root"]},
    }
]
QUESTION = "ابحث عن «كتب» و«سلم» (اثنين)"
FIRST, SECOND = "نتيجةُ الأوّل", "نتيجةُ الثاني"


async def ask_for_two(gateway: Gateway, provider: str, conversation: str) -> list[dict[str, Any]]:
    """A question that the simulator answers with two calls; the calls."""
    body = {"message": QUESTION, "tools": TOOLS, "provider": provider, "conversation_id": conversation}
    calls: list[dict[str, Any]] = (await gateway.ask(body))["tool_calls"]
    assert len(calls) == 2
    return calls


async def logged(gateway: Gateway, conversation: str) -> tuple[list[str], list[Any]]:
    """The roles of a conversation's rows and the results of its calls, in order."""
    roles = await gateway.rows("SELECT role FROM messages WHERE conversation_id = $1 ORDER BY timestamp, id", conversation)
    results = await gateway.rows(
        "SELECT t.result FROM tool_calls t JOIN messages m ON m.id = t.message_id WHERE m.conversation_id = $1 ORDER BY t.id",
        conversation,
    )
    return [row["role"] for row in roles], [row["result"] and json.loads(row["result"]) for row in results]


def given(shape: str, ids: list[str]) -> list[dict[str, Any]]:
    """The two results as clients send them, rightly and wrongly."""
    first: dict[str, Any] = {"role": "tool", "content": FIRST}
    second: dict[str, Any] = {"role": "tool", "content": SECOND}
    match shape:
        case "right ids":
            return [first | {"tool_call_id": ids[0]}, second | {"tool_call_id": ids[1]}]
        case "right ids, other order":
            return [second | {"tool_call_id": ids[1]}, first | {"tool_call_id": ids[0]}]
        case "wrong ids":
            return [first | {"tool_call_id": "x"}, second | {"tool_call_id": "y"}]
        case "null ids":
            return [first | {"tool_call_id": None}, second | {"tool_call_id": None}]
        case "no ids":
            return [first, second]
        case "one right, one wrong":
            return [second | {"tool_call_id": ids[1]}, first | {"tool_call_id": "z"}]
        case "the same id twice":
            return [first | {"tool_call_id": ids[0]}, second | {"tool_call_id": ids[0]}]
    raise AssertionError(shape)


SHAPES = [
    "right ids",
    "right ids, other order",
    "wrong ids",
    "null ids",
    "no ids",
    "one right, one wrong",
    "the same id twice",
]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_results_go_to_their_calls_whatever_their_ids(gateway: Gateway, subtests: pytest.Subtests, provider: str) -> None:
    for number, shape in enumerate(SHAPES):
        with subtests.test(shape=shape):
            conversation = f"conv-{provider}-{number}"
            calls = await ask_for_two(gateway, provider, conversation)
            entries = given(shape, [call["id"] for call in calls])
            body = {"conversation_id": conversation, "messages": entries, "tools": TOOLS, "provider": provider}
            told = Told(await gateway.events(body))
            assert told.last["status"] == "completed"
            # The simulator quotes the results in the order of the calls: the provider saw them so.
            assert told.text().index(FIRST) < told.text().index(SECOND)
            assert await logged(gateway, conversation) == (["user", "assistant", "assistant"], [FIRST, SECOND])


async def test_the_client_may_send_the_whole_history_too(gateway: Gateway) -> None:
    calls = await ask_for_two(gateway, "openai", "conv-whole")
    entries = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call | {"id": None} for call in calls]},
        {"role": "tool", "content": SECOND, "tool_call_id": calls[1]["id"]},
        {"role": "tool", "content": FIRST, "tool_call_id": calls[0]["id"]},
    ]
    reply = await gateway.ask({"conversation_id": "conv-whole", "messages": entries, "tools": TOOLS})
    assert FIRST in reply["content"]
    assert await logged(gateway, "conv-whole") == (["user", "assistant", "assistant"], [FIRST, SECOND])


async def test_only_some_results(gateway: Gateway) -> None:
    calls = await ask_for_two(gateway, "anthropic", "conv-some")
    entry = {"role": "tool", "tool_call_id": calls[1]["id"], "content": SECOND}
    await gateway.ask({"conversation_id": "conv-some", "messages": [entry], "tools": TOOLS, "provider": "anthropic"})
    assert await logged(gateway, "conv-some") == (["user", "assistant", "assistant"], [None, SECOND])


async def test_json_results_are_kept_as_they_came(gateway: Gateway) -> None:
    calls = await ask_for_two(gateway, "google", "conv-json")
    contents = ['{"معنى": ["كتابة", null, 1.5]}', "[1, 2]"]
    entries = [
        {"role": "tool", "tool_call_id": call["id"], "content": content} for call, content in zip(calls, contents, strict=True)
    ]
    await gateway.ask({"conversation_id": "conv-json", "messages": entries, "tools": TOOLS, "provider": "google"})
    shown = (await gateway.client.get("/conversations/conv-json")).json()
    assert [json.loads(call["result"]) for call in shown["messages"][1]["tool_calls"]] == [json.loads(text) for text in contents]


async def test_a_second_round_of_tools(gateway: Gateway) -> None:
    calls = await ask_for_two(gateway, "openai", "conv-rounds")
    entries = [{"role": "tool", "tool_call_id": call["id"], "content": FIRST} for call in calls]
    body: dict[str, Any] = {"conversation_id": "conv-rounds", "messages": entries, "tools": TOOLS}
    gateway.simulator.script(parse_text("tools=1"))
    second = await gateway.ask(body)
    [call] = second["tool_calls"]
    body["messages"] = [{"role": "tool", "tool_call_id": call["id"], "content": SECOND}]
    last = await gateway.ask(body)
    assert SECOND in last["content"]
    assert await logged(gateway, "conv-rounds") == (["user", *["assistant"] * 3], [FIRST, FIRST, SECOND])


async def test_after_a_restart_the_log_knows_the_calls(start_gateway: Any) -> None:
    gateway = await start_gateway()
    calls = await ask_for_two(gateway, "google", "conv-restart")
    await gateway.close()
    gateway = await start_gateway()
    entries = given("null ids", [call["id"] for call in calls])
    reply = await gateway.ask({"conversation_id": "conv-restart", "messages": entries, "tools": TOOLS, "provider": "google"})
    assert reply["content"].index(FIRST) < reply["content"].index(SECOND)
    assert await logged(gateway, "conv-restart") == (["user", "assistant", "assistant"], [FIRST, SECOND])


async def test_results_that_nobody_here_asked_for_are_a_question(gateway: Gateway) -> None:
    entries = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "name": "search_root", "arguments": {"root": "كتب"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": FIRST},
    ]
    reply = await gateway.ask({"messages": entries, "tools": TOOLS})
    rows = await gateway.rows(
        "SELECT role, content FROM messages WHERE conversation_id = $1 ORDER BY id", reply["conversation_id"]
    )
    assert [row["role"] for row in rows] == ["user", "assistant"]
    assert rows[0]["content"] == QUESTION


async def test_a_result_without_a_call_is_refused(gateway: Gateway, subtests: pytest.Subtests) -> None:
    tool = {"role": "tool", "tool_call_id": "call_1", "content": FIRST}
    user = {"role": "user", "content": "سؤال"}
    await gateway.ask({"message": "سؤالٌ بلا أدوات", "conversation_id": "conv-plain"})
    refused: list[dict[str, Any]] = [
        {"messages": [tool]},
        {"messages": [tool], "conversation_id": "conv-plain"},
        {"messages": [tool], "conversation_id": "conv-unknown"},
        {"messages": [user, tool]},
        {"messages": [user, {"role": "assistant", "content": "جواب"}, tool]},
        {"messages": [tool, user]},
    ]
    for body in refused:
        for path in ("/chat", "/chat/stream"):
            with subtests.test(body=str(body), path=path):
                check_problem(await gateway.client.post(path, json=body), "invalid_request")
    assert len(gateway.simulator.calls) == 1
