"""The official anthropic client accepts what the simulator says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from simulator import Simulator, parse_text
from tests.lazily import Lazily
from tests.running import PLAIN
from tests.simulator.asking import WORD_TOOL

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Lazily("anthropic")

TOOL: Any = {"name": "get_word", "description": "يجلب مدخل الكلمة", "input_schema": WORD_TOOL}
MODEL = "claude-haiku-5-5"


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = anthropic.DefaultAsyncHttpxClient(**PLAIN)
    async with anthropic.AsyncAnthropic(
        api_key="sk-ant-test-1", base_url=sim.base_url, max_retries=0, http_client=http
    ) as client:
        yield client


async def whole(client: anthropic.AsyncAnthropic, messages: Any, **more: Any) -> anthropic.types.Message:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    options: Any = {"model": MODEL, "max_tokens": 4096, "messages": messages, **more}
    reply = await client.messages.create(**options)
    assert isinstance(reply, anthropic.types.Message)
    return reply


async def streamed(client: anthropic.AsyncAnthropic, text: str, **more: Any) -> tuple[anthropic.types.Message, str]:
    """Return the message the client put together, and its text as it came."""
    options: Any = {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}
    async with client.messages.stream(**options) as stream:
        came = "".join([piece async for piece in stream.text_stream])
        return await stream.get_final_message(), came


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, anthropic.types.TextBlock))


async def test_answers_and_streams_the_same(client: anthropic.AsyncAnthropic) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟")
    message, came = await streamed(client, "ما معنى كلمة سلام؟")
    assert came == text_of(message) == text_of(reply)
    assert came.startswith("[محاكاة]")
    assert reply.stop_reason == message.stop_reason == "end_turn"
    assert message.usage.output_tokens == reply.usage.output_tokens > 10


async def test_calls_tools_and_goes_on_from_the_results(client: anthropic.AsyncAnthropic) -> None:
    asked = "ابحث عن اثنين: «سلام» و«كتاب»"
    reply = await whole(client, asked, tools=[TOOL])
    message, _ = await streamed(client, asked, tools=[TOOL])
    for got in (reply, message):
        calls = [block for block in got.content if isinstance(block, anthropic.types.ToolUseBlock)]
        assert [call.input for call in calls] == [{"word": "سلام", "limit": 1}, {"word": "كتاب", "limit": 2}]
        assert got.stop_reason == "tool_use"
    history = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "أمان"}]}
                for block in message.content
                if isinstance(block, anthropic.types.ToolUseBlock)
            ],
        },
    ]
    assert "«أمان»" in text_of(await whole(client, history, tools=[TOOL]))


async def test_forces_and_forbids_tools(client: anthropic.AsyncAnthropic) -> None:
    other: Any = {**TOOL, "name": "get_root"}
    forced = await whole(client, "سلام", tools=[TOOL, other], tool_choice={"type": "tool", "name": "get_root"})
    assert [block.name for block in forced.content if isinstance(block, anthropic.types.ToolUseBlock)] == ["get_root"]
    free = await whole(client, "سلام", tools=[TOOL], tool_choice={"type": "none"})
    assert not [block for block in free.content if isinstance(block, anthropic.types.ToolUseBlock)]


async def test_thinks_with_a_signature_that_must_come_back_unchanged(client: anthropic.AsyncAnthropic) -> None:
    message, _ = await streamed(client, "فكّر في كلمة سلام", tools=[TOOL])
    thinking = message.content[0]
    assert isinstance(thinking, anthropic.types.ThinkingBlock)
    assert thinking.thinking.startswith("[محاكاة]")
    assert thinking.signature
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens
    (call,) = [block for block in message.content if isinstance(block, anthropic.types.ToolUseBlock)]
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    history: list[Any] = [
        {"role": "user", "content": "فكّر في كلمة سلام"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "أمان"}]},
    ]
    assert (await whole(client, history, tools=[TOOL])).stop_reason == "end_turn"
    blocks[0]["thinking"] += " زيادة"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await whole(client, history, tools=[TOOL])


async def test_leaves_thinking_out_when_told_to(client: anthropic.AsyncAnthropic) -> None:
    message, _ = await streamed(client, "think: سلام", thinking={"type": "adaptive", "display": "omitted"})
    thinking = message.content[0]
    assert isinstance(thinking, anthropic.types.ThinkingBlock)
    assert thinking.thinking == ""
    assert thinking.signature


async def test_cites_sources(client: anthropic.AsyncAnthropic) -> None:
    message, _ = await streamed(client, "ما مصدر كلمة سلام؟")
    kinds = [block.type for block in message.content]
    assert kinds == ["server_tool_use", "web_search_tool_result", "text"]
    text = message.content[2]
    assert isinstance(text, anthropic.types.TextBlock)
    urls = [found.url for found in text.citations or () if found.type == "web_search_result_location"]
    assert urls == ["https://example.com/maajim/1", "https://example.com/maajim/2"]


async def test_refuses_and_stops_at_the_limit(client: anthropic.AsyncAnthropic) -> None:
    message, came = await streamed(client, "please refuse")
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert came.startswith("[محاكاة]")
    cut = await whole(client, "ما معنى كلمة سلام؟", max_tokens=3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    assert (await whole(client, "a long answer")).stop_reason == "max_tokens"


async def test_raises_its_typed_errors(client: anthropic.AsyncAnthropic, sim: Simulator) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: no-such-model"):
        await whole(client, "سلام", model="no-such-model")
    with pytest.raises(anthropic.AuthenticationError):
        await whole(client.with_options(api_key="invalid"), "سلام")
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        await whole(client, "سلام", extra_body={"temperature": 1})
    sim.script(parse_text("status=529"))
    with pytest.raises(anthropic.OverloadedError):
        await whole(client, "سلام")
    sim.script(parse_text("status=429 retry_after=2.2"))
    with pytest.raises(anthropic.RateLimitError) as limited:
        await whole(client, "سلام")
    assert limited.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize("moment", ["after-head", "mid", "at-end"])
async def test_raises_an_error_from_inside_a_stream(client: anthropic.AsyncAnthropic, sim: Simulator, moment: str) -> None:
    sim.script(parse_text(f"fault=error@{moment}"))
    with pytest.raises(anthropic.APIStatusError) as failed:
        await streamed(client, "سلام")
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["error"]["type"] == "overloaded_error"


async def test_lists_models(client: anthropic.AsyncAnthropic) -> None:
    assert "claude-haiku-5-5" in [model.id async for model in client.models.list()]
