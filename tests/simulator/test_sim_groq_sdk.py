"""The official groq client accepts what the simulator says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from simulator import Simulator, parse_text
from tests.lazily import Lazily
from tests.running import PLAIN
from tests.simulator.asking import WORD_TOOL

if TYPE_CHECKING:
    import groq
else:
    groq = Lazily("groq")

TOOL: Any = {"type": "function", "function": {"name": "get_word", "parameters": WORD_TOOL}}
MODEL = "openai/gpt-oss-120b"


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[groq.AsyncGroq]:
    http = groq.DefaultAsyncHttpxClient(**PLAIN)
    async with groq.AsyncGroq(api_key="gsk-test-1", base_url=sim.base_url, max_retries=0, http_client=http) as client:
        yield client


async def whole(client: groq.AsyncGroq, text: str, **more: Any) -> groq.types.chat.ChatCompletion:
    options: Any = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
    reply = await client.chat.completions.create(**options)
    assert isinstance(reply, groq.types.chat.ChatCompletion)
    return reply


async def chunks(client: groq.AsyncGroq, text: str, **more: Any) -> list[groq.types.chat.ChatCompletionChunk]:
    options: Any = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True, **more}
    return [chunk async for chunk in await client.chat.completions.create(**options)]


async def test_answers_and_streams_the_same(client: groq.AsyncGroq) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟")
    got = await chunks(client, "ما معنى كلمة سلام؟")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in got)
    assert text == reply.choices[0].message.content
    assert text.startswith("[محاكاة]")
    assert got[0].x_groq is not None
    assert got[0].x_groq.id
    assert got[-1].choices[0].finish_reason == "stop"
    assert got[-1].x_groq is not None
    assert got[-1].x_groq.usage is not None
    assert reply.usage is not None
    assert got[-1].x_groq.usage.completion_tokens == reply.usage.completion_tokens


async def test_calls_two_tools_whole_and_goes_on_from_the_results(client: groq.AsyncGroq) -> None:
    text = "parallel: «سلام» «كتاب»"
    got = await chunks(client, text, tools=[TOOL])
    calls = [call for chunk in got for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1]
    assert [call.function.arguments for call in calls if call.function] == [
        '{"word":"سلام","limit":1}',
        '{"word":"كتاب","limit":2}',
    ]
    assert got[-1].choices[0].finish_reason == "tool_calls"
    history: Any = [
        {"role": "user", "content": text},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": "get_word", "arguments": "{}"}} for call in calls
            ],
        },
        *({"role": "tool", "tool_call_id": call.id, "content": "تحيّة"} for call in calls),
    ]
    reply = await client.chat.completions.create(model=MODEL, messages=history, tools=[TOOL])
    assert "«تحيّة»" in (reply.choices[0].message.content or "")


@pytest.mark.parametrize("shown", ["parsed", "raw", "hidden"])
async def test_shows_reasoning_as_it_was_asked_to(client: groq.AsyncGroq, shown: str) -> None:
    more: Any = {"model": "qwen/qwen3-32b", "reasoning_format": shown}
    message = (await whole(client, "think: سلام", **more)).choices[0].message
    got = await chunks(client, "think: سلام", **more)
    reasoning = "".join(chunk.choices[0].delta.reasoning or "" for chunk in got)
    content = "".join(chunk.choices[0].delta.content or "" for chunk in got)
    assert reasoning == (message.reasoning or "")
    assert content == message.content
    assert bool(reasoning) == (shown == "parsed")
    assert content.startswith("<think>") == (shown == "raw")


async def test_tells_what_it_searched(client: groq.AsyncGroq) -> None:
    message = (await whole(client, "ما مصدر كلمة سلام؟")).choices[0].message
    assert message.executed_tools
    found = message.executed_tools[0].search_results
    assert found is not None
    assert found.results is not None
    assert [result.url for result in found.results] == ["https://example.com/maajim/1", "https://example.com/maajim/2"]


async def test_escapes_markup_as_the_real_one_does(client: groq.AsyncGroq, sim: Simulator) -> None:
    reply = await whole(client, '[[sim: reply="<b>سلام & تحية</b>"]]')
    assert reply.choices[0].message.content == "<b>سلام & تحية</b>"
    got = await chunks(client, '[[sim: reply="<b>سلام & تحية</b>"]]')
    assert "".join(chunk.choices[0].delta.content or "" for chunk in got) == "<b>سلام & تحية</b>"


async def test_raises_its_typed_errors(client: groq.AsyncGroq, sim: Simulator) -> None:
    with pytest.raises(groq.NotFoundError):
        await whole(client, "سلام", model="no-such-model")
    with pytest.raises(groq.AuthenticationError):
        await whole(client.with_options(api_key="invalid"), "سلام")
    messages: Any = [{"role": "user", "content": "سلام"}, {"role": "assistant", "content": "س", "reasoning": "ف"}]
    with pytest.raises(groq.BadRequestError, match="property 'reasoning' is unsupported"):
        await client.chat.completions.create(model=MODEL, messages=messages)
    sim.script(parse_text("status=429 retry_after=3"))
    with pytest.raises(groq.RateLimitError) as limited:
        await whole(client, "سلام")
    assert limited.value.response.headers["retry-after"] == "3"


async def test_raises_an_error_from_inside_a_stream(client: groq.AsyncGroq, sim: Simulator) -> None:
    sim.script(parse_text("fault=error@first-token status=400 code=tool_use_failed"))
    with pytest.raises(groq.APIError) as failed:
        await chunks(client, "سلام")
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["code"] == "tool_use_failed"
