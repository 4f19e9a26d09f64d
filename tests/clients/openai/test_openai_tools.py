"""OpenAI's client for Python: tools, and which conversation a history belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from simulator import parse_text
from tests.clients.openai.asked import FOUND, SEARCH, logged, said
from tests.clients.openai.conftest import MODELS, Client
from tests.lazily import Lazily
from tests.running import Gateway, Start
from tests.web.callers import closed, user_token

if TYPE_CHECKING:
    import openai
    from openai.types import chat
else:
    openai, chat = Lazily("openai"), Lazily("openai.types.chat")

TWO_CALLS = "ما معنى «كتاب» وما معنى «سلام»؟"


async def ask(client: openai.AsyncOpenAI, *, streamed: bool = False, **asked: Any) -> chat.ChatCompletion:
    """A reply, put together by the client itself where it is streamed."""
    if not streamed:
        whole: chat.ChatCompletion = await client.chat.completions.create(**asked)
        return whole
    async with client.chat.completions.stream(**asked) as chunks:
        return await chunks.get_final_completion()


def conversation(reply: chat.ChatCompletion) -> str:
    found: str = (reply.model_extra or {})["conversation_id"]
    return found


def with_results(history: list[dict[str, Any]], reply: chat.ChatCompletion) -> list[dict[str, Any]]:
    """A history with a reply's calls in it, and their results, the last one first."""
    message = reply.choices[0].message
    assert message.tool_calls
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps(FOUND, ensure_ascii=False)}
        for call in reversed(message.tool_calls)
    ]
    return [*history, message.to_dict(), *results]


@pytest.mark.parametrize(("model", "streamed"), [*((model, True) for model in MODELS), (MODELS[0], False)])
async def test_two_calls_at_once_and_their_results(
    gateway: Gateway, client: openai.AsyncOpenAI, model: str, streamed: bool
) -> None:
    history = said(TWO_CALLS)
    gateway.simulator.script(parse_text("tools=2"))
    reply = await ask(client, streamed=streamed, model=model, messages=history, tools=[SEARCH])
    [choice] = reply.choices
    assert choice.finish_reason == "tool_calls"
    calls = [call for call in choice.message.tool_calls or [] if call.type == "function"]
    assert [call.function.name for call in calls] == ["search_entries"] * 2
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
    assert len({call.id for call in calls}) == 2

    answered = with_results(history, reply)
    final = await ask(client, streamed=streamed, model=model, messages=answered, tools=[SEARCH])
    text = final.choices[0].message.content
    assert text
    assert final.choices[0].finish_reason == "stop"

    turn = reply.id.removeprefix("chatcmpl-")
    [row] = await gateway.rows("SELECT conversation_id FROM messages WHERE turn_id = $1::text::uuid AND role = 'user'", turn)
    asked, called, told = await logged(gateway, row["conversation_id"])
    assert (asked["role"], asked["content"]) == ("user", TWO_CALLS)
    assert [(call["arguments"], call["result"]) for call in called["tool_calls"]] == [
        (call.function.arguments, json.dumps(FOUND, ensure_ascii=False)) for call in calls
    ]
    assert (told["role"], told["content"]) == ("assistant", text)


async def test_the_choice_of_a_tool(client: openai.AsyncOpenAI) -> None:
    for choice in ({"type": "function", "function": {"name": "search_entries"}}, "required", "none"):
        reply = await ask(client, model="gpt-6-luna", messages=said("مرحبا"), tools=[SEARCH], tool_choice=choice)
        assert bool(reply.choices[0].message.tool_calls) is (choice != "none")


async def test_a_history_goes_on_with_its_conversation(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """Clients of this format name no conversation: it is the one in which the caller got the replies that they repeat."""
    first = await ask(client, model="gpt-6-luna", messages=said("ما معنى «بيت»؟"))
    text = first.choices[0].message.content or ""
    second = await ask(client, model="claude-haiku-5-5", messages=said("ما معنى «بيت»؟", text, "وجمعه؟"))
    again = second.choices[0].message.content or ""
    # The client has cut the beginning off, and put in a reply that nobody gave.
    third = await ask(client, model="gpt-6-luna", messages=said("وجمعه؟", again, "هات مثالًا", "لحظة…", "هيّا"))
    assert conversation(first) == conversation(second) == conversation(third)
    found = await logged(gateway, conversation(first))
    assert [message["content"] for message in found if message["role"] == "user"] == ["ما معنى «بيت»؟", "وجمعه؟", "هيّا"]

    other = await ask(client, model="gpt-6-luna", messages=said("ما معنى «بيت»؟"))
    foreign = await ask(client, model="gpt-6-luna", messages=said("ما معنى «باب»؟", text, "وجمعه؟"))
    assert len({conversation(reply) for reply in (first, other, foreign)}) == 3


async def test_a_conversation_of_the_clients_naming(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    for question in ("ما معنى «بيت»؟", "ما معنى «باب»؟"):
        reply = await ask(client, model="gpt-6-luna", messages=said(question), metadata={"conversation_id": "درس-١"})
        assert conversation(reply) == "درس-١"
    assert len(await logged(gateway, "درس-١")) == 4
    # Results alone: the log knows the question.
    called = await ask(
        client, model="gpt-6-luna", messages=said(TWO_CALLS), tools=[SEARCH], metadata={"conversation_id": "درس-٢"}
    )
    results = with_results([], called)[1:]
    await ask(client, model="gpt-6-luna", messages=results, metadata={"conversation_id": "درس-٢"})
    assert [message["role"] for message in await logged(gateway, "درس-٢")] == ["user", "assistant", "assistant"]


async def test_user_names_the_conversation(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    first = await ask(client, model="gpt-6-luna", messages=said("ما معنى «بيت»؟"), user="درس-٣")
    text = first.choices[0].message.content or ""
    history = said("ما معنى «بيت»؟", text, "وجمعه؟")
    assert conversation(first) == "درس-٣"
    assert conversation(await ask(client, model="gpt-6-luna", messages=history, user="درس-٤")) == "درس-٤"
    both = await ask(client, model="gpt-6-luna", messages=said("سؤال"), user="درس-٣", metadata={"conversation_id": "درس-٥"})
    assert conversation(both) == "درس-٥"
    assert len(await logged(gateway, "درس-٣")) == 2
    # No name at all: the history leads to it.
    for odd in ("", "س" * 201, "سطر\nآخر"):
        assert conversation(await ask(client, model="gpt-6-luna", messages=history, user=odd)) == "درس-٣"
    body = {"model": "gpt-6-luna", "messages": history, "user": {"id": 7}}
    reply = (await gateway.client.post("/v1/chat/completions", json=body)).json()
    assert reply["conversation_id"] == "درس-٣"


async def test_results_are_no_question(start_gateway: Start, client_of: Client) -> None:
    """As with /chat: the day's limit counts what a user asks, and nobody else's history leads into a conversation."""
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="1")
    mine, other = [client_of(world.gateway, api_key=user_token(await world.user())) for _ in range(2)]
    history = said(TWO_CALLS)
    reply = await ask(mine, model="gpt-6-luna", messages=history, tools=[SEARCH])
    answered = with_results(history, reply)
    final = await ask(mine, model="gpt-6-luna", messages=answered, tools=[SEARCH])
    assert conversation(final) == conversation(reply)
    with pytest.raises(openai.RateLimitError):
        await ask(mine, model="gpt-6-luna", messages=said("وبعد؟"))
    foreign = await ask(other, model="gpt-6-luna", messages=answered, tools=[SEARCH])
    assert conversation(foreign) != conversation(reply)
    with pytest.raises(openai.RateLimitError):
        await ask(other, model="gpt-6-luna", messages=said("وبعد؟"))
