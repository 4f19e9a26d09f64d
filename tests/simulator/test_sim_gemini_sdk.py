"""The official google-genai client accepts what the simulator says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from simulator import Simulator, parse_text
from tests.lazily import Lazily
from tests.simulator.asking import WORD_TOOL

if TYPE_CHECKING:
    from google import genai
    from google.genai import errors, types
else:
    genai, errors, types = Lazily("google.genai"), Lazily("google.genai.errors"), Lazily("google.genai.types")

# The client subclasses aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
MODEL = "gemini-3.8-flash"
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TOOLS: list[Any] = [{"function_declarations": [{"name": "get_word", "parameters_json_schema": WORD_TOOL}]}]


def connect(sim: Simulator, key: str = "AIza-test-1") -> genai.Client:
    without: dict[str, Any] = {"verify": NO_CERTIFICATES, "ssl": NO_CERTIFICATES}
    options = types.HttpOptions(base_url=sim.base_url, client_args=without, async_client_args=without)
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[genai.Client]:
    client = connect(sim)
    yield client
    await client.aio.aclose()


async def whole(client: genai.Client, contents: Any, model: str = MODEL, **config: Any) -> types.GenerateContentResponse:
    settings = types.GenerateContentConfig(
        **config, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    return await client.aio.models.generate_content(model=model, contents=contents, config=settings)


async def chunks(client: genai.Client, contents: Any, model: str = MODEL, **config: Any) -> list[Any]:
    settings = types.GenerateContentConfig(
        **config, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    stream = await client.aio.models.generate_content_stream(model=model, contents=contents, config=settings)
    return [chunk async for chunk in stream]


def parts_of(*replies: types.GenerateContentResponse) -> list[types.Part]:
    contents = [reply.candidates[0].content for reply in replies if reply.candidates]
    return [part for content in contents if content for part in content.parts or ()]


def said(parts: list[types.Part], thought: bool = False) -> str:
    return "".join(part.text or "" for part in parts if bool(part.thought) == thought)


async def test_answers_and_streams_the_same(client: genai.Client) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟")
    got = await chunks(client, "ما معنى كلمة سلام؟")
    assert said(parts_of(reply)) == said(parts_of(*got))
    assert said(parts_of(reply)).startswith("[محاكاة]")
    assert [chunk.candidates[0].finish_reason for chunk in got][-1] == types.FinishReason.STOP
    assert all(chunk.candidates[0].finish_reason is None for chunk in got[:-1])
    for usage in (reply.usage_metadata, got[-1].usage_metadata):
        assert usage is not None
        assert usage.total_token_count == (usage.prompt_token_count or 0) + (usage.candidates_token_count or 0)


async def test_calls_two_tools_signs_the_first_and_goes_on_from_the_results(client: genai.Client) -> None:
    got = await chunks(client, "ابحث عن اثنين: «سلام» و«كتاب»", tools=TOOLS)
    parts = [part for part in parts_of(*got) if part.function_call]
    assert [part.function_call.args for part in parts if part.function_call] == [
        {"word": "سلام", "limit": 1},
        {"word": "كتاب", "limit": 2},
    ]
    assert [bool(part.thought_signature) for part in parts] == [True, False]
    assert got[-1].candidates[0].finish_reason == types.FinishReason.STOP
    history = [
        types.UserContent("ابحث عن اثنين: «سلام» و«كتاب»"),
        types.ModelContent(parts),
        types.UserContent([types.Part.from_function_response(name="get_word", response={"output": "أمان"})] * 2),
    ]
    assert "«أمان»" in said(parts_of(await whole(client, history, tools=TOOLS)))
    parts[0].thought_signature = None
    with pytest.raises(errors.ClientError, match="missing a thought_signature"):
        await whole(client, history, tools=TOOLS)


async def test_refuses_a_signature_on_another_part(client: genai.Client) -> None:
    parts = parts_of(await whole(client, "parallel: «سلام» «كتاب»", tools=TOOLS))
    parts[1].thought_signature = parts[0].thought_signature
    history = [
        types.UserContent("parallel: «سلام» «كتاب»"),
        types.ModelContent(parts),
        types.UserContent([types.Part.from_function_response(name="get_word", response={"output": "أمان"})] * 2),
    ]
    with pytest.raises(errors.ClientError, match="Corrupted thought signature"):
        await whole(client, history, tools=TOOLS)


async def test_gives_older_models_calls_without_ids(client: genai.Client) -> None:
    for model, with_id in ((MODEL, True), ("gemini-2.5-flash", False)):
        (part,) = parts_of(await whole(client, "سلام", model=model, tools=TOOLS))
        assert part.function_call is not None
        assert bool(part.function_call.id) is with_id
        assert bool(part.thought_signature) is with_id


async def test_thinks_in_parts_of_their_own(client: genai.Client) -> None:
    got = await chunks(client, "فكّر في كلمة سلام", thinking_config=types.ThinkingConfig(include_thoughts=True))
    parts = parts_of(*got)
    assert said(parts, thought=True).startswith("[محاكاة]")
    assert said(parts).startswith("[محاكاة] هذا")
    usage = got[-1].usage_metadata
    assert usage.thoughts_token_count > 0
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    hidden = await whole(client, "فكّر في كلمة سلام", thinking_config=types.ThinkingConfig(include_thoughts=False))
    assert said(parts_of(hidden), thought=True) == ""
    assert hidden.usage_metadata is not None
    assert hidden.usage_metadata.thoughts_token_count


async def test_cites_sources(client: genai.Client) -> None:
    reply = (await chunks(client, "ما مصدر كلمة سلام؟"))[-1]
    found = reply.candidates[0].grounding_metadata.grounding_chunks
    assert [chunk.web.uri for chunk in found] == ["https://example.com/maajim/1", "https://example.com/maajim/2"]


async def test_refuses_blocks_and_stops_at_the_limit(client: genai.Client) -> None:
    refused = await whole(client, "please refuse")
    assert refused.candidates
    assert refused.candidates[0].finish_reason == types.FinishReason.SAFETY
    assert said(parts_of(refused)).startswith("[محاكاة]")
    (blocked,) = await chunks(client, "[[sim: finish=blocked]] سلام")
    assert not blocked.candidates
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    cut = await whole(client, "ما معنى كلمة سلام؟", max_output_tokens=3)
    assert cut.candidates
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert cut.usage_metadata is not None
    assert cut.usage_metadata.candidates_token_count == 3


async def test_raises_its_typed_errors(client: genai.Client, sim: Simulator) -> None:
    with pytest.raises(errors.ClientError) as missing:
        await whole(client, "سلام", model="no-such-model")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")
    other = connect(sim, "invalid-key")
    with pytest.raises(errors.ClientError, match="API key not valid") as refused:
        await whole(other, "سلام")
    await other.aio.aclose()
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    sim.script(parse_text("status=429 retry_after=48"))
    with pytest.raises(errors.ClientError) as limited:
        await whole(client, "سلام")
    assert limited.value.status == "RESOURCE_EXHAUSTED"
    assert limited.value.details["error"]["details"][0]["retryDelay"] == "48s"
    assert "retry-after" not in limited.value.response.headers
    sim.script(parse_text("status=503"))
    with pytest.raises(errors.ServerError):
        await whole(client, "سلام")


@pytest.mark.parametrize("fault", ["error@mid", "bare-error@at-end"])
async def test_raises_an_error_from_inside_a_stream(client: genai.Client, sim: Simulator, fault: str) -> None:
    sim.script(parse_text(f"fault={fault}"))
    with pytest.raises(errors.APIError) as failed:
        await chunks(client, "سلام")
    assert failed.value.code == 503


async def test_lists_models(client: genai.Client) -> None:
    pager = await client.aio.models.list(config={"query_base": True})
    assert "models/gemini-3.8-flash" in [model.name async for model in pager]
