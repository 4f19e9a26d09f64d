"""Requests the providers took are taken; those they refuse are refused, in their words and shape."""

import json
from typing import Any

import aiohttp
import pytest

from simulator import Settings, Simulator, start_simulator
from tests.simulator.asking import PROVIDERS, RECORDINGS, Asked, asked, post

TAKEN = sorted((RECORDINGS / "requests").glob("*.json"))
KEYS = {"Authorization": "Bearer k", "x-api-key": "k", "x-goog-api-key": "k", "anthropic-version": "2023-06-01"}


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.stem)
async def test_takes_what_the_provider_took(sim: Simulator, http: aiohttp.ClientSession, path: Any) -> None:
    recorded = json.loads(path.read_text())
    where = "/" + recorded["url"].partition("://")[2].partition("/")[2]
    got = await post(http, sim, Asked(where, KEYS, recorded["body"]))
    assert (got.status, recorded["response_status"]) == (200, 200), got.body.decode()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_wants_a_key_that_it_knows(http: aiohttp.ClientSession, provider: str) -> None:
    simulator = await start_simulator(settings=Settings(keys=frozenset(("sk-test-1",))))
    without = Asked(asked(provider).path, {"anthropic-version": "2023-06-01"}, asked(provider).body)
    statuses = [
        (await post(http, simulator, request)).status
        for request in (asked(provider, key="sk-test-1"), asked(provider, key="sk-test-2"), without)
    ]
    assert statuses == ([200, 400, 403] if provider == "google" else [200, 401, 401])
    assert [call.outcome for call in simulator.calls] == ["completed", "rejected", "rejected"]
    await simulator.close()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("body", [b"", b"[1]", b'{"model":', b'"text"', b"{}"])
async def test_refuses_what_is_no_request(sim: Simulator, http: aiohttp.ClientSession, provider: str, body: bytes) -> None:
    request = asked(provider)
    async with http.post(sim.base_url + request.path, headers=request.headers, data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(call_id: str = "call_1", arguments: Any = "{}") -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": "get_word", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result(call_id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "أمان"}


FUNCTION = {"type": "function", "function": {"name": "get_word", "parameters": {"type": "object", "properties": {}}}}
OPENAI: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"messages": []}, "messages", "empty_array"),
    ({"surprise": 1}, "surprise", "unknown_parameter"),
    ({"messages": [user(None)]}, "messages.[0].content", None),
    ({"messages": [user([])]}, "messages[0].content", "empty_array"),
    ({"messages": [user([{"type": "tool_use"}])]}, "messages[0].content[0].type", "invalid_value"),
    ({"messages": [user([{"type": "image_url", "image_url": "https://x"}])]}, "messages[0].content[0].image_url", "invalid_type"),
    ({"messages": [{**user("س"), "thoughts": []}]}, "messages[0].thoughts", "unknown_parameter"),
    ({"messages": [{"role": "model", "content": "س"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [user("س"), result()]}, "messages.[1].role", None),
    ({"messages": [user("س"), called(), user("ص")]}, "messages.[2].role", None),
    ({"messages": [user("س"), called(), result("call_2")]}, "messages.[2].role", None),
    ({"messages": [user("س"), called(arguments={})]}, "messages[1].tool_calls[0].function.arguments", "invalid_type"),
    ({"messages": [user("س"), called("c" * 41), result("c" * 41)]}, "messages[1].tool_calls[0].id", "string_above_max_length"),
    ({"messages": [user("س"), {"role": "assistant", "content": "س", "tool_calls": []}]}, "messages[1].tool_calls", "empty_array"),
    ({"tools": []}, "tools", "empty_array"),
    ({"tool_choice": "auto"}, "tool_choice", None),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice", None),
    ({"tools": [{"type": "function", "function": {"name": "بحث"}}]}, "tools[0].function.name", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", None),
    ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"temperature": 3}, "temperature", "decimal_out_of_range"),
    ({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter"),
    ({"model": "gpt-6-luna", "max_tokens": 9}, "max_tokens", "unsupported_parameter"),
    ({"model": "gpt-6-luna", "stop": ["."]}, "stop", "unsupported_parameter"),
    ({"model": "gpt-5", "temperature": 0.2}, "temperature", "unsupported_value"),
    ({"model": "gpt-5", "reasoning_effort": "none"}, "reasoning_effort", "unsupported_value"),
    ({"model": "gpt-6-luna", "tools": [FUNCTION]}, "reasoning_effort", None),
    ({"model": "gpt-5.4", "tools": [FUNCTION], "reasoning_effort": "low"}, "reasoning_effort", None),
    ({"model": "gpt-6-astra", "tools": [FUNCTION], "reasoning_effort": "none"}, "reasoning_effort", "unsupported_value"),
    ({"model": "o1-mini", "messages": [{"role": "system", "content": "س"}]}, "messages[0].role", "unsupported_value"),
]


@pytest.mark.parametrize(("change", "param", "code"), OPENAI, ids=str)
async def test_openai_refuses(
    sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any], param: str | None, code: str | None
) -> None:
    request = asked("openai")
    got = await post(http, sim, Asked(request.path, request.headers, {**request.body, **change}))
    assert got.status == 400
    error = got.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-6-luna", "tools": [FUNCTION], "reasoning_effort": "none", "temperature": 0.2},
        {"model": "gpt-5.4-mini", "tools": [FUNCTION]},
        {"model": "gpt-6-sol", "max_completion_tokens": 9, "messages": [{"role": "developer", "content": "س"}, user("ص")]},
        {"messages": [user("س"), called(), result(), called("call_2"), result("call_2"), user("ص")]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}])]},
    ],
    ids=str,
)
async def test_openai_takes(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any]) -> None:
    request = asked("openai")
    got = await post(http, sim, Asked(request.path, request.headers, {**request.body, **change}))
    assert got.status == 200, got.body.decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": [user("س"), {"role": "assistant", "content": "س", "reasoning_content": "ف"}]}, "'reasoning_content'"),
        ({"messages": [{**user("س"), "id": "1"}]}, "for 'role:user' the following must be satisfied"),
        ({"messages": [user("س"), {"role": "tool", "content": "س"}]}, "property 'tool_call_id' is missing"),
        ({"messages": [user("س"), result()]}, "call_1"),
        ({"logprobs": True}, "property 'logprobs' is unsupported"),
        ({"n": 2}, "'n'"),
        ({"reasoning_format": "parsed", "include_reasoning": True}, "cannot specify both"),
        ({"reasoning_effort": "none"}, "`reasoning_effort` must be one of"),
    ],
)
async def test_groq_refuses(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any], message: str) -> None:
    request = asked("groq")
    got = await post(http, sim, Asked(request.path, request.headers, {**request.body, **change}))
    assert got.status == 400
    error = got.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "param" not in error
