"""OpenAI's client for Python: whole replies and streams, reasoning, sources, images, token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.openai.asked import PICTURE, QUESTION, last_logged, logged, said
from tests.clients.openai.conftest import MODELS
from tests.lazily import Lazily
from tests.running import Gateway

if TYPE_CHECKING:
    import openai
    from openai.types import chat
else:
    openai, chat = Lazily("openai"), Lazily("openai.types.chat")


async def stream(client: openai.AsyncOpenAI, **asked: Any) -> list[chat.ChatCompletionChunk]:
    """All chunks of a reply."""
    return [chunk async for chunk in await client.chat.completions.create(stream=True, **asked)]


def text_of(chunks: list[chat.ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def extra(chunks: list[chat.ChatCompletionChunk], name: str) -> list[Any]:
    """What the deltas hold beyond OpenAI's own fields."""
    deltas = [(choice.delta.model_extra or {}) for chunk in chunks for choice in chunk.choices]
    return [delta[name] for delta in deltas if name in delta]


@pytest.mark.parametrize("model", MODELS)
async def test_a_whole_reply(gateway: Gateway, client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.with_raw_response.create(model=model, messages=said(QUESTION))  # type: ignore[arg-type]
    reply = answer.parse()
    [choice] = reply.choices
    stored = await last_logged(gateway, reply.id)
    assert choice.message.content == stored["content"]
    assert choice.message.content
    assert (choice.finish_reason, choice.message.role, choice.message.tool_calls) == ("stop", "assistant", None)
    assert (reply.object, reply.model) == ("chat.completion", model)
    assert reply.usage is not None
    counts = reply.usage.prompt_tokens, reply.usage.completion_tokens
    assert counts == (stored["usage"]["input_tokens"], stored["usage"]["output_tokens"])
    assert reply.usage.total_tokens == sum(counts)
    assert answer.headers["X-Turn-Id"] == stored["turn_id"]
    # What OpenAI itself has no place for stands where others have put it.
    extras = choice.message.model_extra or {}
    assert extras.get("reasoning_content", "") == "".join(thought["content"] for thought in stored["thoughts"])
    cited = [note.url_citation.url for note in choice.message.annotations or []]
    assert cited == [source["url"] for source in stored["sources"]]
    assert cited
    assert (reply.usage.model_extra or {}).get("cost") == stored["usage"]["cost_usd"]
    assert (await client.chat.completions.retrieve(reply.id)).choices == reply.choices


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream(gateway: Gateway, client: openai.AsyncOpenAI, model: str) -> None:
    chunks = await stream(client, model=model, messages=said(QUESTION), stream_options={"include_usage": True})
    stored = await last_logged(gateway, chunks[0].id)
    assert text_of(chunks) == stored["content"]
    assert stored["content"]
    assert "".join(extra(chunks, "reasoning_content")) == "".join(thought["content"] for thought in stored["thoughts"])
    cited = [note["url_citation"]["url"] for notes in extra(chunks, "annotations") for note in notes]
    assert cited == [source["url"] for source in stored["sources"]]
    first, *_, finish, last = chunks
    assert first.choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks[:-2] for choice in chunk.choices] == [None] * (len(chunks) - 2)
    assert (finish.choices[0].finish_reason, finish.choices[0].delta.content) == ("stop", None)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == stored["usage"]["input_tokens"]
    assert last.usage.completion_tokens == stored["usage"]["output_tokens"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert {(chunk.id, chunk.object, chunk.created, chunk.model) for chunk in chunks} == {
        (first.id, "chat.completion.chunk", first.created, model)
    }


async def test_a_stream_tells_no_counts_unless_asked(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, model="gpt-6-luna", messages=said("مرحبا"))
    assert all(chunk.choices and "usage" not in chunk.model_fields_set for chunk in chunks)


async def test_the_clients_own_way_of_putting_a_stream_together(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="claude-haiku-5-5",
        messages=said(QUESTION),  # type: ignore[arg-type]
    ) as chunks:
        reply = await chunks.get_final_completion()
    assert reply.choices[0].message.content == (await last_logged(gateway, reply.id))["content"]


@pytest.mark.parametrize("model", MODELS)
async def test_an_image(gateway: Gateway, client: openai.AsyncOpenAI, model: str) -> None:
    content: list[Any] = [
        {"type": "text", "text": "ما المكتوب "},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "text", "text": "هنا؟"},
    ]
    reply = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    [call] = gateway.simulator.calls
    assert PICTURE.partition(",")[2].encode() in call.raw
    [asked, answered] = await logged(gateway, (reply.model_extra or {})["conversation_id"])
    assert asked["content"] == "ما المكتوب هنا؟"
    assert answered["content"] == reply.choices[0].message.content


async def test_what_is_said_to_the_model(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """The developer's words are the system's; the older name of the limit is taken too; hints are left out."""
    await client.chat.completions.create(
        model="anthropic/claude-haiku-5-5",
        messages=[
            {"role": "developer", "content": "أجب بإيجاز."},
            {"role": "user", "content": [{"type": "text", "text": "ما معنى "}, {"type": "text", "text": "«بحر»؟"}]},
            {"role": "assistant", "content": None, "refusal": "لا أعرف."},
            {"role": "user", "content": "حاول.", "name": "سلمى"},
        ],
        max_tokens=77,
        seed=3,
        top_p=0.5,
        user="user-1",
        store=True,
        metadata={"app": "معجم"},
    )
    [call] = gateway.simulator.calls
    assert call.body["max_tokens"] == 77
    assert "أجب بإيجاز." in str(call.body["system"])
    assert "لا أعرف." in str(call.body["messages"][1])
    assert call.body.keys().isdisjoint({"seed", "top_p", "metadata", "user"})


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = (await client.models.list()).data
    assert {model.id for model in listed} == set(MODELS)
    for name in (*MODELS, *(name.partition("/")[2] for name in MODELS)):
        found = await client.models.retrieve(name)
        assert found.id in MODELS
        assert found.id.endswith(name)
        assert found.owned_by == found.id.partition("/")[0]
