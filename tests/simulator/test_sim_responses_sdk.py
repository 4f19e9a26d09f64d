"""The official openai client accepts what the simulator says on the Responses API, and is refused what OpenAI refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from simulator import Simulator, parse_text
from tests.lazily import Lazily
from tests.running import PLAIN
from tests.simulator.asking import WORD_TOOL

if TYPE_CHECKING:
    import openai
    from openai.types import responses
else:
    openai, responses = Lazily("openai"), Lazily("openai.types.responses")

MODEL = "gpt-6.1-sol"
TOOL: dict[str, Any] = {"type": "function", "name": "get_word", "parameters": dict(WORD_TOOL), "strict": False}
REASONED: dict[str, Any] = {
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"summary": "auto"},
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_word", "arguments": "{}"}


@cache
def events_adapter() -> TypeAdapter[Any]:
    return TypeAdapter(responses.ResponseStreamEvent)


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(**PLAIN)
    async with openai.AsyncOpenAI(api_key="sk-test-1", base_url=f"{sim.base_url}/v1", max_retries=0, http_client=http) as client:
        yield client


async def whole(client: openai.AsyncOpenAI, given: Any, **more: Any) -> responses.Response:
    reply = await client.responses.create(**{"model": MODEL, "input": given, **more})
    assert isinstance(reply, responses.Response)
    # The client builds its models without looking; this looks.
    responses.Response.model_validate(reply.model_dump())
    return reply


async def events(client: openai.AsyncOpenAI, given: Any, **more: Any) -> list[Any]:
    stream: Any = await client.responses.create(**{"model": MODEL, "input": given, "stream": True, **more})
    found = [event async for event in stream]
    adapter = events_adapter()
    for event in found:
        adapter.validate_python(event.model_dump())
    assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


async def test_answers_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "ما معنى كلمة سلام؟")
    assert reply.status == "completed"
    assert "«سلام»" in reply.output_text
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    told = await events(client, "ما معنى كلمة سلام؟")
    assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == reply.output_text
    assert (told[0].type, told[-1].type) == ("response.created", "response.completed")
    assert told[-1].response.output_text == reply.output_text


async def test_thinks_calls_and_answers_from_results(client: openai.AsyncOpenAI) -> None:
    asked = [{"role": "user", "content": "فكّر: معنى كلمتي «سلام» و«كتاب» parallel"}]
    told = await events(client, asked, tools=[TOOL], **REASONED)
    output = told[-1].response.output
    assert [item.type for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert output[0].summary[0].text
    assert [item.type for item in output] == [event.item.type for event in told if event.type == "response.output_item.done"]
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": f"جواب {item.call_id}"} for item in output[2:]]
    history = [*asked, *(item.model_dump(exclude_none=True, exclude={"status"}) for item in output), *results]
    reply = await whole(client, _input(history), tools=[TOOL], **REASONED)
    assert all(result["output"] in reply.output_text for result in results)


def _input(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log probabilities are not taken back."""
    for item in items:
        for part in item.get("content") or () if item.get("type") == "message" else ():
            part.pop("logprobs", None)
    return items


@pytest.mark.parametrize("finish", ["length", "blocked"])
async def test_breaks_off(client: openai.AsyncOpenAI, finish: str) -> None:
    reason = {"length": "max_output_tokens", "blocked": "content_filter"}[finish]
    for reply in (
        await whole(client, f"سلام [[sim: finish={finish}]]"),
        (await events(client, f"سلام [[sim: finish={finish}]]"))[-1].response,
    ):
        assert reply.status == "incomplete"
        assert reply.incomplete_details is not None
        assert reply.incomplete_details.reason == reason


async def test_refuses_and_cites(client: openai.AsyncOpenAI) -> None:
    refused = (await whole(client, "refuse")).output[0]
    assert refused.type == "message"
    assert refused.content[0].type == "refusal"
    cited = (await events(client, "معنى سلام مع مصدر"))[-1].response.output[0].content[0].annotations
    assert [source.type for source in cited] == ["url_citation", "url_citation"]


async def test_without_an_end(client: openai.AsyncOpenAI) -> None:
    assert (await events(client, "سلام [[sim: finish=none]]"))[-1].type == "response.output_item.done"


async def test_errors_before_and_inside_a_stream(client: openai.AsyncOpenAI, sim: Simulator) -> None:
    sim.script(parse_text("status=429 retry_after=3"))
    with pytest.raises(openai.RateLimitError) as limited:
        await whole(client, "سلام")
    assert limited.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.APIError, match="had an error"):
        await events(client, "سلام [[sim: fault=error@mid]]")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"messages": []}, "Unknown parameter"),
    "no input": ({"input": None}, "Missing required parameter: 'input'"),
    "empty input": ({"input": []}, "empty array"),
    "few tokens": ({"max_output_tokens": 15}, "integer below minimum"),
    "temperature": ({"temperature": 0.5}, "'temperature' is not supported"),
    "summary": ({"model": "gpt-4o", "reasoning": {"summary": "auto"}}, "'reasoning.summary' is not supported"),
    "include": ({"model": "gpt-4o", "include": ["reasoning.encrypted_content"]}, "Encrypted content is not supported"),
    "include what": ({"include": ["x"]}, "Invalid value"),
    "options": ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    "chat tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "string does not match pattern"),
    "strict": ({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]}, "Invalid schema"),
    "choice": ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "Tool choice"),
    "choice without tools": ({"tool_choice": "required"}, "tool_choice"),
    "role": ({"input": [{"role": "tool", "content": "x"}]}, "Invalid value: 'tool'"),
    "part": ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Supported values"),
    "item": ({"input": [{"type": "thing"}]}, "Invalid value: 'thing'"),
    "item field": ({"input": [{"role": "user", "content": "x", "name": "y"}]}, "Unknown parameter"),
    "no output": ({"input": [CALL]}, "No tool output found"),
    "no call": ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "No tool call found"),
    "foreign reasoning": (
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}, CALL]},
        "No tool output found|could not be verified",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refuses_what_openai_refuses(client: openai.AsyncOpenAI, case: str) -> None:
    body, text = REFUSED[case]
    with pytest.raises(openai.BadRequestError, match=text):
        await client.post("/responses", body={"model": MODEL, "input": "سلام", **body}, cast_to=responses.Response)


async def test_reasoning_comes_back_whole_and_in_its_place(client: openai.AsyncOpenAI) -> None:
    reply = await whole(client, "سلام", tools=[TOOL], **REASONED)
    thought, said, call = (item.model_dump(exclude_none=True, exclude={"status"}) for item in reply.output)
    _input([said])
    answer = {"type": "function_call_output", "call_id": call["call_id"], "output": "نعم"}
    moved = [call, answer, thought]
    with pytest.raises(openai.BadRequestError, match="without its required following item"):
        await whole(client, moved, tools=[TOOL], **REASONED)
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        await whole(client, [thought | {"id": "rs_other"}, said, call, answer], tools=[TOOL], **REASONED)
    thought.pop("encrypted_content")
    with pytest.raises(openai.NotFoundError, match="not persisted"):
        await whole(client, [thought, said, call, answer], tools=[TOOL], **REASONED)


async def test_keys_and_models(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await whole(client.with_options(api_key="invalid-1"), "سلام")
    with pytest.raises(openai.BadRequestError) as unknown:
        await whole(client, "سلام", model="no-such-model")
    assert unknown.value.code == "model_not_found"
