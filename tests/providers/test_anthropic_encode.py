"""What goes out to Anthropic: the whole body, its messages, tools, sampling and images."""

import base64
import json

import pytest

from gateway.core.errors import GatewayError
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Prompt,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.anthropic import PROVIDER
from gateway.providers.base import Route
from tests.providers.anthropic_bodies import (
    WEATHER,
    body,
    call,
    called,
    messages,
    normal,
    recorded,
    route,
    user,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def results(*pairs: tuple[str, str]) -> ToolResults:
    return ToolResults(tuple(ToolResult(call_id, "get_weather", content) for call_id, content in pairs))


def test_a_question_as_it_goes_out() -> None:
    prompt = Prompt((user("ما معنى كلمة «مُعجَم»؟"),), system="أجب بالعربية.", temperature=0.3, max_tokens=500)
    sent = PROVIDER.encode(prompt, Route("anthropic", "claude-haiku-4-5", "https://example.org/v/", "sk-1"), True)
    assert sent.url == "https://example.org/v/v1/messages"
    assert dict(sent.headers) == {
        "content-type": "application/json",
        "x-api-key": "sk-1",
        "anthropic-version": "2023-06-01",
    }
    assert json.loads(sent.body) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": [text("ما معنى كلمة «مُعجَم»؟")]}],
        "system": "أجب بالعربية.",
        "temperature": 0.3,
        "stream": True,
    }


def test_a_whole_reply_is_asked_for_without_the_stream_flag() -> None:
    assert "stream" not in body(Prompt((user("سلام"),)), stream=False)


@pytest.mark.parametrize("system", [None, "", " \n"])
def test_no_empty_system_prompt(system: str | None) -> None:
    assert "system" not in body(Prompt((user("سلام"),), system=system))


@pytest.mark.parametrize("name", ["parallel-tool-results", "parallel-tool-results-stream", "tool-result-is-error"])
def test_recorded_tool_rounds(name: str) -> None:
    wire = recorded(name)
    question, answer, found = normal(wire["messages"])
    uses = [block for block in answer["content"] if block["type"] == "tool_use"]
    calls = tuple(ToolCall(use["id"], use["name"], use["input"]) for use in uses)
    given = [ToolResult(block["tool_use_id"], "", block["content"]) for block in found["content"]]
    [tool] = wire["tools"]
    prompt = Prompt(
        (user(question["content"][0]["text"]), called(*calls), ToolResults(tuple(given))),
        tools=(ToolSpec(tool["name"], tool["description"], tool["input_schema"]),),
        max_tokens=wire["max_tokens"],
    )
    sent = body(prompt, route(wire["model"]), stream=wire.get("stream", False))
    assert sent["messages"] == [question, answer, found]
    assert sent["tools"] == [{name: tool[name] for name in ("name", "description", "input_schema")}]
    assert (sent["model"], sent["max_tokens"]) == (wire["model"], wire["max_tokens"])


def test_results_name_their_calls_in_any_order() -> None:
    sent = messages(user("؟"), called(call("a.1"), call("b_2", "جدة")), results(("b_2", "حار"), ("a.1", "غائم")))
    first, second = (use["id"] for use in sent[1]["content"])
    assert second == "b_2"
    assert [(block["tool_use_id"], block["content"]) for block in sent[2]["content"]] == [
        ("b_2", "حار"),
        (first, "غائم"),
    ]


def test_words_after_results_share_their_message_and_come_last() -> None:
    sent = messages(user("؟"), called(call("a"), text="لحظة"), results(("a", "غائم")), user("وغدًا؟"), user("وبعده؟"))
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == [
        text("لحظة"),
        {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "مكة"}},
    ]
    assert sent[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "غائم"},
        text("وغدًا؟"),
        text("وبعده؟"),
    ]


def test_nothing_empty_is_sent() -> None:
    sent = messages(user("سلام"), AssistantMessage(" \n"), user(""), user("ما الخبر؟"), tools=())
    assert sent == [{"role": "user", "content": [text("سلام"), text("ما الخبر؟")]}]
    empty = messages(user("؟"), called(call("a")), results(("a", " ")))
    assert empty[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_a_history_that_begins_with_the_assistant_gets_an_opening() -> None:
    sent = messages(AssistantMessage("أهلًا بك"), user("سلام"), tools=())
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"][0]["text"].strip()


@pytest.mark.parametrize("history", [(user(" "),), (user("سلام"), AssistantMessage("وعليكم"), user("\n"))])
def test_an_empty_question_is_refused_before_it_costs_a_call(history: tuple[UserMessage, ...]) -> None:
    with pytest.raises(GatewayError) as caught:
        PROVIDER.encode(Prompt(history), route(), True)
    assert caught.value.code == "provider_rejected"


@pytest.mark.parametrize("parameters", [{}, {"type": "string"}, {"properties": {"q": {"type": "string"}}}])
def test_a_tool_takes_an_object(parameters: dict[str, object]) -> None:
    [tool] = body(Prompt((user("؟"),), tools=(ToolSpec("بحث", "", parameters),)))["tools"]
    assert tool["input_schema"] == {"properties": {}, **parameters, "type": "object"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("required"), {"type": "any"}),
        (ToolChoice("named", "get_weather"), {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, expected: object) -> None:
    prompt = Prompt((user("؟"),), tools=(WEATHER,), tool_choice=choice)
    forced = expected is not None and choice is not None and choice.mode in ("required", "named")
    assert body(prompt).get("tool_choice") == expected
    assert body(prompt, route(dropped=["tool_choice"])).get("tool_choice") == (None if forced else expected)
    assert body(prompt, route("claude-sonnet-5-5")).get("tool_choice") == (None if forced else expected)
    assert "tool_choice" not in body(Prompt((user("؟"),), tool_choice=choice))


def test_calls_in_the_history_of_a_request_without_tools_are_declared_and_not_to_be_made() -> None:
    history = (user("؟"), called(call("a"), call("b")), results(("a", "١"), ("b", "٢")))
    sent = body(Prompt(history, tool_choice=ToolChoice("required")))
    assert [tool["name"] for tool in sent["tools"]] == ["get_weather"]
    assert sent["tools"][0]["input_schema"]["type"] == "object"
    assert sent["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(("given", "sent"), [(0.0, 0.0), (0.7, 0.7), (1.8, 1.0), (-1.0, 0.0)])
def test_temperature_stays_in_range(given: float, sent: float) -> None:
    assert body(Prompt((user("؟"),), temperature=given))["temperature"] == sent


def test_temperature_is_left_out_where_it_is_refused() -> None:
    prompt = Prompt((user("؟"),), temperature=0.5)
    assert "temperature" not in body(prompt, route(dropped=["temperature"]))
    assert "temperature" not in body(prompt, route("claude-haiku-5-5"))


def test_models_that_think_anyway_are_asked_to_show_it() -> None:
    prompt = Prompt((user("؟"),))
    assert body(prompt, route("claude-haiku-5-5"))["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert "thinking" not in body(prompt, route("claude-haiku-5-5", ["thinking"]))
    assert "thinking" not in body(prompt, route("claude-opus-4-7"))
    assert "thinking" not in body(prompt, route("claude-haiku-4-5-20251001"))


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://example.org/صورة.png", {"type": "url", "url": "https://example.org/صورة.png"}),
        (f"data:image/png;base64,{PNG}", {"type": "base64", "media_type": "image/png", "data": PNG}),
        (f"DATA:image/JPG; Base64,{PNG[:8]}\n{PNG[8:]}", {"type": "base64", "media_type": "image/jpeg", "data": PNG}),
        ("data:image/webp;base64,AAA%3D", {"type": "base64", "media_type": "image/webp", "data": "AAA="}),
    ],
)
def test_images(url: str, source: dict[str, str]) -> None:
    [turn] = messages(UserMessage((TextPart("ما هذا؟"), ImagePart(url))), tools=())
    assert turn["content"] == [text("ما هذا؟"), {"type": "image", "source": source}]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "صورة",
        "file:///etc/passwd",
        "data:",
        f"data:application/pdf;base64,{PNG}",
        f"data:image/png,{PNG}",
        "data:image/png;base64,",
        "data:image/png;base64,AA_-",
        "data:image/png;base64,AAA",
        "data:image/png;base64,سلام",
    ],
)
def test_images_that_cannot_be_sent(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        PROVIDER.encode(Prompt((UserMessage((ImagePart(url),)),)), route(), True)
    assert caught.value.code == "provider_rejected"
    assert not caught.value.retryable
