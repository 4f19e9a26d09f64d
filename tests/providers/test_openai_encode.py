"""Prompts as Chat Completions requests, held against the openai client's own types."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    KeptState,
    Prompt,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.base import Route
from gateway.providers.openai import PROVIDER
from tests.providers.openai_bodies import QUESTION, WEATHER, as_prompt, body, comparable, recorded, request

ROUND_TRIP = Prompt(
    (
        QUESTION,
        AssistantMessage(
            "",
            (ToolCall("call_1", "get_weather", {"city": "الرياض"}), ToolCall("call_2", "get_weather", {"city": "جدة"})),
            KeptState("anthropic", "claude-haiku-5-5", {"blocks": []}),
        ),
        ToolResults((ToolResult("call_1", "get_weather", "٤٠ درجة"), ToolResult("call_2", "get_weather", "٣٥ درجة"))),
    ),
    system="أجب باختصار",
    tools=(WEATHER,),
)


def test_the_call() -> None:
    found = request(Prompt((QUESTION,)), "gpt-4o")
    assert found.url == "https://api.openai.com/v1/chat/completions"
    assert found.headers == {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
    assert "ما حالة الطقس؟".encode() in found.body


def test_a_base_url_may_end_with_a_slash() -> None:
    route = Route("openai", "m", "http://127.0.0.1:9/v1/", "k")
    assert PROVIDER.encode(Prompt((QUESTION,)), route, False).url == "http://127.0.0.1:9/v1/chat/completions"


def test_a_whole_reply_is_asked_for_without_stream_options() -> None:
    assert body(Prompt((QUESTION,), system="كن مفيدًا", temperature=0.2, max_tokens=100)) == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "كن مفيدًا"}, {"role": "user", "content": "ما حالة الطقس؟"}],
        "max_completion_tokens": 100,
        "temperature": 0.2,
    }


def test_a_stream_is_asked_for_with_usage_and_without_padding() -> None:
    found = body(Prompt((QUESTION,)), stream=True)
    assert found["stream"] is True
    assert found["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_only_openais_own_host_is_told_about_padding() -> None:
    route = Route("openai", "m", "http://127.0.0.1:9/v1", "k")
    found = json.loads(PROVIDER.encode(Prompt((QUESTION,)), route, True).body)
    assert found["stream_options"] == {"include_usage": True}


def test_the_round_trip_of_two_parallel_calls() -> None:
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"الرياض"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"جدة"}'}},
    ]
    assert body(ROUND_TRIP, "gpt-6-luna", stream=True) == {
        "model": "gpt-6-luna",
        "messages": [
            {"role": "developer", "content": "أجب باختصار"},
            {"role": "user", "content": "ما حالة الطقس؟"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": "٤٠ درجة"},
            {"role": "tool", "tool_call_id": "call_2", "content": "٣٥ درجة"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "max_completion_tokens": 8192,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "description": "الطقس في مدينة",
                    "parameters": WEATHER.parameters,
                },
            }
        ],
        "reasoning_effort": "none",
    }


@pytest.mark.parametrize("name", ["openai-parallel-tool-results", "openai-tool-retry"])
def test_recorded_requests(name: str) -> None:
    recording = recorded(name)
    found = body(as_prompt(recording), recording["model"])
    assert comparable(found["messages"]) == comparable(recording["messages"])
    # Strict schemas are the client's own choice; the gateway has no field for them.
    wanted = [{**tool["function"]} for tool in recording.get("tools", ())]
    for function in wanted:
        assert not function.pop("description")
        del function["strict"]
    assert [tool["function"] for tool in found.get("tools", ())] == wanted


@pytest.mark.parametrize(
    ("model", "role"),
    [("gpt-4o", "system"), ("gpt-6-luna", "developer"), ("o3-mini", "developer"), ("o1-mini", "user"), ("new", "system")],
)
def test_who_speaks_the_system_prompt(model: str, role: str) -> None:
    assert body(Prompt((QUESTION,), system="س"), model)["messages"][0] == {"role": role, "content": "س"}


@pytest.mark.parametrize(("model", "kept"), [("gpt-4o", True), ("gpt-6-luna", False), ("o3-mini", False), ("new", True)])
def test_temperature(model: str, kept: bool) -> None:
    assert ("temperature" in body(Prompt((QUESTION,), temperature=0.0), model)) is kept


@pytest.mark.parametrize(
    ("model", "effort"),
    [("gpt-6-luna", "none"), ("gpt-5.4-mini", "none"), ("gpt-5-mini", None), ("gpt-6-astra", None), ("gpt-4o", None)],
)
def test_reasoning_effort_beside_tools(model: str, effort: str | None) -> None:
    assert body(Prompt((QUESTION,), tools=(WEATHER,)), model).get("reasoning_effort") == effort
    assert "reasoning_effort" not in body(Prompt((QUESTION,)), model)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", "get_weather"), {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_tool_choice(choice: ToolChoice, wanted: Any) -> None:
    assert body(Prompt((QUESTION,), tools=(WEATHER,), tool_choice=choice))["tool_choice"] == wanted
    assert "tool_choice" not in body(Prompt((QUESTION,), tool_choice=choice))


@pytest.mark.parametrize("parameters", [{}, {"properties": {}}])
def test_a_tool_without_a_schema_takes_an_empty_object(parameters: dict[str, Any]) -> None:
    found = body(Prompt((QUESTION,), tools=(ToolSpec("now", "", parameters),)))
    assert found["tools"][0]["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}}


def test_images_stay_in_their_place() -> None:
    parts = (TextPart("ما هذا؟"), ImagePart("data:image/png;base64,AAAA"), TextPart("وهذا؟"), ImagePart("https://a.example/b"))
    assert body(Prompt((UserMessage(parts),)))["messages"][0]["content"] == [
        {"type": "text", "text": "ما هذا؟"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "وهذا؟"},
        {"type": "image_url", "image_url": {"url": "https://a.example/b"}},
    ]


def test_parts_of_text_alone_are_one_string() -> None:
    parts = (TextPart("أ"), TextPart("ب"))
    assert body(Prompt((UserMessage(parts),)))["messages"][0]["content"] == "أب"


def test_an_empty_answer_without_calls_keeps_its_content() -> None:
    found = body(Prompt((QUESTION, AssistantMessage(""), QUESTION)))
    assert found["messages"][1] == {"role": "assistant", "content": ""}


def test_text_beside_calls_is_kept_and_broken_arguments_are_not_sent() -> None:
    call = ToolCall("functions.get_weather:0", "get_weather", {}, '{"city": ')
    results = ToolResults((ToolResult("functions.get_weather:0", "get_weather", "خطأ"),))
    _, said, answered = body(Prompt((QUESTION, AssistantMessage("لحظة", (call,)), results)))["messages"]
    assert said["content"] == "لحظة"
    assert said["tool_calls"][0]["function"]["arguments"] == "{}"
    assert said["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert answered["tool_call_id"].startswith("call_")


@pytest.mark.parametrize(
    ("dropped", "limit"),
    [
        ((), {"max_completion_tokens": 8192}),
        (("max_completion_tokens",), {"max_tokens": 8192}),
        (("max_completion_tokens", "max_tokens"), {}),
        (("max_output_tokens",), {}),
    ],
)
def test_a_refused_limit_is_swapped_or_left_out(dropped: tuple[str, ...], limit: dict[str, int]) -> None:
    found = body(Prompt((QUESTION,)), dropped=dropped)
    assert {name: value for name, value in found.items() if name.startswith("max_")} == limit


def test_refused_parameters_are_left_out() -> None:
    prompt = Prompt((QUESTION,), system="س", tools=(WEATHER,), temperature=0.5)
    found = body(prompt, stream=True, dropped=("temperature", "stream_options", "system_role"))
    assert not {"temperature", "stream_options"} & found.keys()
    assert found["messages"][0]["role"] == "user"


def test_a_refused_reasoning_effort_is_sent_where_it_was_not() -> None:
    prompt = Prompt((QUESTION,), tools=(WEATHER,))
    assert "reasoning_effort" not in body(prompt, "gpt-6-luna", dropped=("reasoning_effort",))
    assert body(prompt, "gpt-9-new", dropped=()).get("reasoning_effort") == "none"
    assert body(prompt, "another-new", dropped=("reasoning_effort",))["reasoning_effort"] == "none"
    assert "reasoning_effort" not in body(Prompt((QUESTION,)), "another-new", dropped=("reasoning_effort",))


def test_tool_call_ids_are_short_where_others_were_refused() -> None:
    calls = (ToolCall("call_2PkZxW0vN8", "get_weather", {}), ToolCall("D681PevKs", "get_weather", {}))
    results = ToolResults(tuple(ToolResult(call.id, call.name, "غائم") for call in calls))
    prompt = Prompt((QUESTION, AssistantMessage("", calls), results), tools=(WEATHER,))
    messages = body(prompt, dropped=["tool_call_ids"])["messages"]
    ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert ids == [message["tool_call_id"] for message in messages[2:]]
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", call_id) for call_id in ids)
    assert ids[1] == "D681PevKs"
    message = "Tool call id was call_2PkZxW0vN8 but must be a-z, A-Z, 0-9, with a length of 9."
    refusal = json.dumps({"object": "error", "message": message, "type": "invalid_function_call", "code": "3280"}).encode()
    assert PROVIDER.decode_error(400, {}, refusal).refused_parameter == "tool_call_ids"


def test_other_servers_know_the_older_limit_alone() -> None:
    route = Route("ollama", "qwen3:8b", "http://localhost:11434/v1/", "")
    sent = PROVIDER.encode(Prompt((QUESTION,), max_tokens=7), route, False)
    assert sent.url == "http://localhost:11434/v1/chat/completions"
    assert sent.headers == {"Content-Type": "application/json"}
    assert json.loads(sent.body)["max_tokens"] == 7
    for dropped, left in (({"max_tokens"}, "max_completion_tokens"), ({"max_tokens", "max_completion_tokens"}, None)):
        found = json.loads(PROVIDER.encode(Prompt((QUESTION,)), replace(route, dropped=frozenset(dropped)), False).body)
        assert [name for name in found if "tokens" in name] == ([left] if left else [])
