"""What Anthropic and Gemini refuse, and what they take."""

from typing import Any

import aiohttp
import pytest

from simulator import Simulator
from tests.simulator.asking import Asked, asked, post


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


TEXT = {"type": "text", "text": "سلام"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_word", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "أمان"}
TOOL = {"name": "get_word", "input_schema": {"type": "object"}}
ANTHROPIC: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater"),
    ({"n": 1}, "n: Extra inputs are not permitted"),
    ({"messages": []}, "at least one message is required"),
    ({"messages": [{"role": "system", "content": "س"}]}, 'Unexpected role "system"'),
    ({"messages": [assistant(TEXT)]}, 'first message must use the "user" role'),
    ({"messages": [user(TEXT), user(TEXT)]}, "roles must alternate"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "non-whitespace text"),
    ({"messages": [user({"type": "text", "text": ""})]}, "text content blocks must be non-empty"),
    ({"messages": [user({"type": "image_url"})]}, "Input tag 'image_url' found using 'type'"),
    ({"messages": [user(RESULT)]}, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    ({"messages": [user(TEXT), assistant(USE)]}, "without `tool_result` blocks immediately after: toolu_1"),
    ({"messages": [user(TEXT), assistant(USE), user(TEXT)]}, "without `tool_result` blocks immediately after: toolu_1"),
    ({"messages": [user(TEXT), assistant(USE), user(TEXT, RESULT)]}, "without `tool_result` blocks immediately after"),
    ({"messages": [user(TEXT), assistant(USE), user(RESULT, RESULT)]}, "must have a single result"),
    ({"messages": [user(TEXT), assistant(USE, USE), user(RESULT)]}, "ids must be unique"),
    ({"messages": [user(TEXT), assistant({**USE, "id": "call:1"}), user(RESULT)]}, "tool_use.id: String should match"),
    ({"messages": [user(TEXT), assistant({**USE, "input": "{}"}), user(RESULT)]}, "tool_use.input: Input should be"),
    ({"messages": [user(TEXT), assistant({"type": "thinking", "thinking": "ف"})]}, "thinking.signature: Field required"),
    ({"messages": [user(TEXT), assistant(TEXT)]}, "does not support assistant message prefill"),
    ({"messages": [{**user(TEXT), "id": "1"}]}, "messages.0.id: Extra inputs"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"tools": [{"name": "get_word"}]}, "input_schema: Field required"),
    ({"tools": [{**TOOL, "name": "بحث"}]}, "custom.name: String should match"),
    ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    ({"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "Tool 'other' not found"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"temperature": 0.2}, "`temperature` is deprecated for this model."),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "is not supported for this model"),
    ({"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 9}}, "greater than or equal to 1024"),
    ({"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 5000}}, "`max_tokens` must be greater"),
]


async def ask_anthropic(
    sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any], version: str = "2023-06-01"
) -> tuple[int, str]:
    request = asked("anthropic")
    body = {name: value for name, value in {**request.body, **change}.items() if value is not None}
    got = await post(http, sim, Asked(request.path, {**request.headers, "anthropic-version": version}, body))
    if got.status == 200:
        return 200, ""
    error = got.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    return got.status, str(error["error"]["message"])


@pytest.mark.parametrize(("change", "message"), ANTHROPIC, ids=str)
async def test_anthropic_refuses(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any], message: str) -> None:
    status, said = await ask_anthropic(sim, http, change)
    assert status == 400
    assert message in said


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [user(TEXT), assistant(TEXT, USE), user(RESULT, TEXT)], "tools": [TOOL], "tool_choice": {"type": "auto"}},
        {"model": "claude-haiku-4-5", "temperature": 0.2, "messages": [user(TEXT), assistant(TEXT)]},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        {"system": "أجب بإيجاز", "messages": [user(TEXT, {"type": "image", "source": {"type": "url", "url": "https://x"}})]},
    ],
    ids=str,
)
async def test_anthropic_takes(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any]) -> None:
    assert await ask_anthropic(sim, http, change) == (200, "")


async def test_anthropic_goes_by_its_version(sim: Simulator, http: aiohttp.ClientSession) -> None:
    old = {"model": "claude-haiku-4-5", "temperature": 1}
    cited = {"messages": [user({**TEXT, "citations": [{"type": "char_location"}]})]}
    document = {"messages": [user(TEXT), assistant({"type": "document"}), user(TEXT)]}
    for change in (old, cited, document):
        assert (await ask_anthropic(sim, http, change))[0] == 200
        assert (await ask_anthropic(sim, http, change, "2026-10-21"))[0] == 400
    assert await ask_anthropic(sim, http, {}, "2026-10-21") == (200, "")
    assert "not a valid version" in (await ask_anthropic(sim, http, {}, "2024-01-01"))[1]
    assert "header is required" in (await ask_anthropic(sim, http, {}, ""))[1]


def said(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


CALL = {"functionCall": {"name": "get_word", "args": {}}, "thoughtSignature": "c2tpcF90aG91Z2h0"}
FOUND = {"functionResponse": {"name": "get_word", "response": {"output": "أمان"}}}
WORD = {"text": "سلام"}
DECLARED = {"name": "get_word", "parametersJsonSchema": {"type": "object", "additionalProperties": False}}
GEMINI: list[tuple[dict[str, Any], str]] = [
    ({"contents": []}, "contents is not specified"),
    ({"messages": []}, 'Unknown name "messages": Cannot find field.'),
    ({"contents": [said(WORD, role="assistant")]}, "Please use a valid role: user, model."),
    ({"contents": [said()]}, "parts must not be empty"),
    ({"contents": [said({"type": "text", **WORD})]}, "Unknown name \"type\" at 'contents[0].parts[0]'"),
    ({"contents": [said({"thought": True})]}, "required oneof field 'data'"),
    ({"contents": [said(FOUND)]}, "function response turn comes immediately after a function call turn"),
    ({"contents": [said(WORD), said(CALL, CALL, role="model"), said(FOUND)]}, "number of function response parts"),
    ({"contents": [said(WORD), said(CALL, role="model"), said(FOUND, FOUND)]}, "number of function response parts"),
    ({"contents": [said(WORD), said(CALL, role="model"), said(WORD)]}, "number of function response parts"),
    ({"contents": [said(WORD), said(CALL, role="model")]}, "end with a user role"),
    ({"contents": [said(WORD), said(WORD, role="model"), said(CALL, role="model"), said(FOUND)]}, "function call turn comes"),
    (
        {"contents": [said(WORD), said({"functionCall": {"name": "get_word", "args": "{}"}}, role="model"), said(FOUND)]},
        "function_call.args",
    ),
    (
        {"contents": [said(WORD), said({**CALL, "thoughtSignature": "لا"}, role="model"), said(FOUND)]},
        "Base64 decoding failed",
    ),
    (
        {"contents": [said(WORD), said({"functionCall": CALL["functionCall"]}, role="model"), said(FOUND)]},
        "call `default_api:get_word` , position 2",
    ),
    ({"systemInstruction": "أجب"}, "system_instruction.parts"),
    ({"tools": [{"functionDeclarations": [DECLARED, DECLARED]}]}, "Duplicate function declaration"),
    ({"tools": [{"functionDeclarations": [{"name": "1"}]}]}, "Invalid function name"),
    (
        {"tools": [{"functionDeclarations": [{"name": "f", "parameters": DECLARED["parametersJsonSchema"]}]}]},
        'Unknown name "additionalProperties"',
    ),
    ({"toolConfig": {"functionCallingConfig": {"mode": "auto"}}}, "function_calling_config.mode"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}, "allowed_function_names"),
    ({"generationConfig": {"maxTokens": 9}}, 'Unknown name "maxTokens"'),
    ({"generationConfig": {"maxOutputTokens": 0}}, "max_output_tokens must be positive"),
    ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}}, "only one of thinking budget"),
]


@pytest.mark.parametrize(("change", "message"), GEMINI, ids=str)
async def test_gemini_refuses(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any], message: str) -> None:
    request = asked("google")
    got = await post(http, sim, Asked(request.path, request.headers, {**request.body, **change}))
    assert got.status == 400
    error = got.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"contents": [said(WORD), said(CALL, role="model"), said(FOUND)]},
        {"contents": [said(WORD), said({"functionCall": CALL["functionCall"]}, role="model"), said(FOUND), said(WORD)]},
        {"tools": [{"functionDeclarations": [DECLARED]}], "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
        {"tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}]},
        {"generationConfig": {"maxOutputTokens": 99, "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"}}},
    ],
    ids=str,
)
async def test_gemini_takes(sim: Simulator, http: aiohttp.ClientSession, change: dict[str, Any]) -> None:
    request = asked("google")
    got = await post(http, sim, Asked(request.path, request.headers, {**request.body, **change}))
    assert got.status == 200, got.body.decode()
