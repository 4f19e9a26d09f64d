"""The official openai client accepts what the simulator says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from simulator import Simulator, parse_text
from tests.lazily import Lazily
from tests.running import PLAIN
from tests.simulator.asking import WORD_TOOL

if TYPE_CHECKING:
    import openai
    from openai.types import chat
else:
    openai, chat = Lazily("openai"), Lazily("openai.types.chat")

TOOL: chat.ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get_word", "description": "يجلب مدخل الكلمة", "parameters": dict(WORD_TOOL)},
}


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(**PLAIN)
    async with openai.AsyncOpenAI(api_key="sk-test-1", base_url=f"{sim.base_url}/v1", max_retries=0, http_client=http) as client:
        yield client


def question(text: str) -> list[chat.ChatCompletionMessageParam]:
    return [{"role": "system", "content": "أجب بإيجاز"}, {"role": "user", "content": text}]


async def whole(client: openai.AsyncOpenAI, text: str, **more: Any) -> chat.ChatCompletion:
    reply = await client.chat.completions.create(model="gpt-4o", messages=question(text), **more)
    assert isinstance(reply, chat.ChatCompletion)
    return reply


async def chunks(client: openai.AsyncOpenAI, text: str, **more: Any) -> list[chat.ChatCompletionChunk]:
    options: Any = {"stream": True, "stream_options": {"include_usage": True}, **more}
    stream = await client.chat.completions.create(model="gpt-4o", messages=question(text), **options)
    return [chunk async for chunk in stream]


async def test_answers_a_question_whole(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟")
    text = reply.choices[0].message.content
    assert text is not None
    assert text.startswith("[محاكاة]")
    assert "«سلام»" in text
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.completion_tokens > 10


async def test_streams_the_same_text_with_usage_behind_it(client: openai.AsyncOpenAI) -> None:
    text = (await whole(client, "ما معنى كلمة سلام؟")).choices[0].message.content
    got = await chunks(client, "ما معنى كلمة سلام؟")
    assert "".join(choice.delta.content or "" for chunk in got for choice in chunk.choices) == text
    assert [choice.finish_reason for chunk in got for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert got[-1].choices == []
    assert got[-1].usage is not None
    assert all(chunk.usage is None for chunk in got[:-1])


async def test_sends_no_usage_unless_asked(client: openai.AsyncOpenAI) -> None:
    got = await chunks(client, "سلام", stream_options={"include_obfuscation": False})
    assert all(chunk.usage is None and chunk.choices for chunk in got)


async def test_calls_the_first_tool_with_the_word(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟", tools=[TOOL])
    assert reply.choices[0].finish_reason == "tool_calls"
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    (call,) = calls
    assert isinstance(call, chat.ChatCompletionMessageFunctionToolCall)
    assert (call.function.name, call.function.arguments) == ("get_word", '{"word":"سلام","limit":1}')


async def test_streams_two_calls_in_fragments(client: openai.AsyncOpenAI) -> None:
    got = await chunks(client, "ابحث عن اثنين: «سلام» و«كتاب»", tools=[TOOL])
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    ids: set[str] = set()
    for chunk in got:
        for choice in chunk.choices:
            for delta in choice.delta.tool_calls or ():
                assert delta.function is not None
                ids |= {delta.id} if delta.id else set()
                names.setdefault(delta.index, delta.function.name or "")
                arguments.setdefault(delta.index, []).append(delta.function.arguments or "")
    assert names == {0: "get_word", 1: "get_word"}
    assert "".join(arguments[0]) == '{"word":"سلام","limit":1}'
    assert "".join(arguments[1]) == '{"word":"كتاب","limit":2}'
    assert len(arguments[0]) > 2
    assert len(ids) == 2


async def test_answers_from_the_results_of_its_calls(client: openai.AsyncOpenAI) -> None:
    asked = question("ابحث عن اثنين: «سلام» و«كتاب»")
    first = await client.chat.completions.create(model="gpt-4o", messages=asked, tools=[TOOL])
    message = first.choices[0].message
    replayed: Any = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    results: list[chat.ChatCompletionMessageParam] = [
        {"role": "tool", "tool_call_id": call.id, "content": f"نتيجة {number}"}
        for number, call in enumerate(message.tool_calls or (), 1)
    ]
    second = await client.chat.completions.create(model="gpt-4o", messages=[*asked, replayed, *results], tools=[TOOL])
    text = second.choices[0].message.content or ""
    assert second.choices[0].finish_reason == "stop"
    assert "«نتيجة 1»" in text
    assert "«نتيجة 2»" in text


async def test_counts_reasoning_without_showing_it(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-6-luna", messages=question("فكّر: ما معنى كلمة سلام؟"))
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    reasoning = reply.usage.completion_tokens_details.reasoning_tokens or 0
    assert 0 < reasoning < reply.usage.completion_tokens


async def test_cites_sources(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "ما مصدر كلمة سلام؟")
    urls = [found.url_citation.url for found in reply.choices[0].message.annotations or ()]
    assert urls == ["https://example.com/maajim/1", "https://example.com/maajim/2"]


async def test_refuses(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "please refuse")
    assert reply.choices[0].message.content is None
    assert (reply.choices[0].message.refusal or "").startswith("[محاكاة]")
    got = await chunks(client, "please refuse")
    refusal = "".join(choice.delta.refusal or "" for chunk in got for choice in chunk.choices)
    assert refusal == reply.choices[0].message.refusal
    assert not any(choice.delta.content for chunk in got for choice in chunk.choices)


@pytest.mark.parametrize("limit", [1, 5])
async def test_stops_at_the_token_limit(client: openai.AsyncOpenAI, limit: int) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟", max_completion_tokens=limit)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == limit
    assert (await whole(client, "a long answer")).choices[0].finish_reason == "length"


async def test_raises_its_typed_errors(client: openai.AsyncOpenAI, sim: Simulator) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="no-such-model", messages=question("سلام"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as refused:
        await client.with_options(api_key="invalid-key").chat.completions.create(model="gpt-4o", messages=question("سلام"))
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_api_key")
    with pytest.raises(openai.BadRequestError) as unsupported:
        await client.chat.completions.create(model="gpt-6-luna", messages=question("سلام"), max_tokens=5)
    assert (unsupported.value.param, unsupported.value.code) == ("max_tokens", "unsupported_parameter")
    sim.script(parse_text("status=429 retry_after=7"))
    with pytest.raises(openai.RateLimitError) as limited:
        await whole(client, "سلام")
    assert limited.value.response.headers["retry-after"] == "7"
    sim.script(parse_text("status=500"))
    with pytest.raises(openai.InternalServerError):
        await whole(client, "سلام")


async def test_raises_an_error_from_inside_a_stream(client: openai.AsyncOpenAI, sim: Simulator) -> None:
    sim.script(parse_text("fault=error@mid"))
    with pytest.raises(openai.APIError, match="The server had an error"):
        await chunks(client, "سلام")


async def test_lists_models(client: openai.AsyncOpenAI) -> None:
    assert "gpt-6-luna" in [model.id async for model in client.models.list()]
