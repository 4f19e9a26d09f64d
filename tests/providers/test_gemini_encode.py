"""What goes out to Gemini: compared with bodies that it answered, and read with the types of Google's own client."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.errors import GatewayError
from gateway.core.jsontext import dumps
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
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
from gateway.providers.gemini import PROVIDER
from tests.lazily import Lazily
from tests.providers.gemini_prompts import prompt_of

if TYPE_CHECKING:
    from google.genai import types
else:
    types = Lazily("google.genai.types")

REQUESTS = Path(__file__).parent.parent / "fixtures" / "requests"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def route(model: str = "gemini-2.5-flash", *dropped: str) -> Route:
    return Route("google", model, "https://generativelanguage.googleapis.com", "sk-سر", frozenset(dropped))


def body_of(prompt: Prompt, to: Route | None = None) -> dict[str, Any]:
    """Return the body, having let Google's own types read every piece of it (they forbid what they don't know)."""
    body: dict[str, Any] = json.loads(PROVIDER.encode(prompt, to or route(), False).body)
    for content in body["contents"]:
        types.Content.model_validate_json(dumps(content))
    settings = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
    types.GenerateContentConfig.model_validate_json(dumps(settings | body.get("generationConfig", {})))
    return body


def user(text: str) -> UserMessage:
    return UserMessage((TextPart(text),))


def recorded(name: str) -> dict[str, Any]:
    found = json.loads((REQUESTS / f"gemini-{name}.json").read_bytes())["body"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["parallel-function-responses", "sequential-function-responses", "signature-replay"], ids=str)
def test_a_recorded_history_goes_out_as_it_was_accepted(name: str) -> None:
    body = recorded(name)
    assert body_of(prompt_of(body))["contents"] == body["contents"]


def test_recorded_tools_and_limits_go_out_as_they_were_accepted() -> None:
    body = recorded("sequential-function-responses")
    out = body_of(prompt_of(body), route("gemini-2.5-flash", "thinkingConfig"))
    assert out == body


def test_history_of_another_model_gets_the_documented_stand_in() -> None:
    body = recorded("foreign-history-dummy-signature")
    contents = body_of(prompt_of(body, keep_state=False), route("gemini-3-pro-preview"))["contents"]
    wanted = body["contents"]
    wanted[1]["parts"][0]["thoughtSignature"] = "skip_thought_signature_validator"
    del wanted[1]["parts"][0]["functionCall"]["id"], wanted[2]["parts"][0]["functionResponse"]["id"]
    assert contents == wanted


def test_only_the_first_of_parallel_calls_gets_the_stand_in() -> None:
    calls = (ToolCall("call_1", "get_entry", {"id": 1}), ToolCall("call_2", "get_entry", {"id": 2}))
    results = ToolResults(tuple(ToolResult(call.id, call.name, "كتاب") for call in calls))
    prompt = Prompt((user("ما معنى كتب؟"), AssistantMessage("سأبحث.", calls), results))
    parts = body_of(prompt, route("gemini-3.8-flash"))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, "skip_thought_signature_validator", None]
    parts = body_of(prompt, route("gemini-2.5-flash"))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, None, None]


def test_the_plain_request() -> None:
    prompt = Prompt((user("مرحبا"),), system="أجب بالعربية.", temperature=0.5, max_tokens=100)
    assert body_of(prompt, route("gemini-2.0-flash")) == {
        "contents": [{"role": "user", "parts": [{"text": "مرحبا"}]}],
        "systemInstruction": {"parts": [{"text": "أجب بالعربية."}]},
        "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5},
    }


@pytest.mark.parametrize(
    ("model", "stream", "url"),
    [
        ("gemini-3.8-flash", False, "https://host/v1beta/models/gemini-3.8-flash:generateContent"),
        ("gemini-3.8-flash", True, "https://host/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"),
        ("models/gemini-3.8-flash", False, "https://host/v1beta/models/gemini-3.8-flash:generateContent"),
        ("a/../b?key=1#", False, "https://host/v1beta/models/a%2F..%2Fb%3Fkey%3D1%23:generateContent"),
    ],
)
def test_address_and_key(model: str, stream: bool, url: str) -> None:
    call = PROVIDER.encode(Prompt((user("مرحبا"),)), Route("google", model, "https://host/", "key-1"), stream)
    assert call.url == url
    assert call.headers == {"x-goog-api-key": "key-1", "content-type": "application/json"}
    assert "key-1" not in call.url


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("gemini-2.0-flash", {"maxOutputTokens": 8192, "temperature": 0.2}),
        ("gemini-2.5-flash", {"maxOutputTokens": 8192, "temperature": 0.2, "thinkingConfig": {"includeThoughts": True}}),
        ("gemini-3.8-flash", {"maxOutputTokens": 8192, "thinkingConfig": {"includeThoughts": True}}),
    ],
)
def test_what_a_model_takes(model: str, config: dict[str, Any]) -> None:
    assert body_of(Prompt((user("مرحبا"),), temperature=0.2), route(model))["generationConfig"] == config


def test_refused_parameters_are_left_out() -> None:
    prompt = Prompt((user("مرحبا"),), temperature=0.2)
    assert "temperature" not in body_of(prompt, route("gemini-2.0-flash", "temperature"))["generationConfig"]
    everything = route("gemini-2.5-flash", "temperature", "thinkingConfig", "maxOutputTokens")
    assert "generationConfig" not in body_of(prompt, everything)


def test_a_refused_system_instruction_is_said_by_the_user() -> None:
    body = body_of(Prompt((user("مرحبا"),), system="أجب بالعربية."), route("gemma-3-27b-it", "systemInstruction"))
    assert "systemInstruction" not in body
    assert body["contents"] == [{"role": "user", "parts": [{"text": "أجب بالعربية."}, {"text": "مرحبا"}]}]


def test_one_side_speaking_on_is_one_content_and_empty_ones_are_none() -> None:
    said: tuple[Message, ...] = (user("أ"), user("ب"), AssistantMessage(""), user(""), AssistantMessage("ج"), user("د"))
    assert body_of(Prompt(said))["contents"] == [
        {"role": "user", "parts": [{"text": "أ"}, {"text": "ب"}]},
        {"role": "model", "parts": [{"text": "ج"}]},
        {"role": "user", "parts": [{"text": "د"}]},
    ]


def test_a_conversation_that_the_app_opened_begins_with_a_user() -> None:
    contents = body_of(Prompt((AssistantMessage("أهلا بك!"), user("مرحبا"))))["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert all(part["text"] for content in contents for part in content["parts"])


def test_a_question_behind_results_is_a_content_of_its_own() -> None:
    call = ToolCall("call_1", "get_entry", {"id": 7})
    results = ToolResults((ToolResult("call_1", "get_entry", "كتاب"),))
    contents = body_of(Prompt((user("أ"), AssistantMessage("", (call,)), results, user("لا، غيره"))))["contents"]
    assert contents[2:] == [
        {"role": "user", "parts": [{"functionResponse": {"name": "get_entry", "response": {"output": "كتاب"}}}]},
        {"role": "user", "parts": [{"text": "لا، غيره"}]},
    ]


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"meaning": "كتاب"}', {"meaning": "كتاب"}),
        ("كتاب", {"output": "كتاب"}),
        ("", {"output": ""}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ("007", {"output": "007"}),
        ("null", {"output": "null"}),
        ('{"cut": ', {"output": '{"cut": '}),
    ],
)
def test_a_result_is_always_an_object(content: str, response: dict[str, Any]) -> None:
    call = ToolCall("call_1", "get_entry", {})
    results = ToolResults((ToolResult("call_1", "get_entry", content),))
    contents = body_of(Prompt((user("أ"), AssistantMessage("", (call,)), results)))["contents"]
    assert contents[2]["parts"] == [{"functionResponse": {"name": "get_entry", "response": response}}]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "get_entry"), {"mode": "ANY", "allowedFunctionNames": ["get_entry"]}),
    ],
)
def test_tools_and_choice(choice: ToolChoice, config: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": False}
    tools = (ToolSpec("get_entry", "يقرأ مدخلا", schema), ToolSpec("now", "", {}))
    body = body_of(Prompt((user("أ"),), tools=tools, tool_choice=choice))
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "get_entry", "description": "يقرأ مدخلا", "parametersJsonSchema": schema},
                {"name": "now", "description": ""},
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": config}


def test_a_choice_without_tools_says_nothing() -> None:
    body = body_of(Prompt((user("أ"),), tool_choice=ToolChoice("required")))
    assert body.keys() & {"tools", "toolConfig"} == set()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        (f"data:image/png;base64,{PIXEL}", {"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
        (f"DATA:image/JPG;name=a;BASE64,{PIXEL}", {"inlineData": {"mimeType": "image/jpeg", "data": PIXEL}}),
        ("https://host/أ.PNG?w=1", {"fileData": {"mimeType": "image/png", "fileUri": "https://host/أ.PNG?w=1"}}),
        ("https://host/image", {"fileData": {"fileUri": "https://host/image"}}),
    ],
)
def test_images(url: str, part: dict[str, Any]) -> None:
    contents = body_of(Prompt((UserMessage((TextPart("ما هذا؟"), ImagePart(url))),)))["contents"]
    assert contents == [{"role": "user", "parts": [{"text": "ما هذا؟"}, part]}]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,***",
        "data:image/png;base64,QUJD*QUJD",
        "data:image/png;base64,صورة",
        f"data:image/png,{PIXEL}",
        f"data:;base64,{PIXEL}",
        f"data:text/html;base64,{PIXEL}",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "صورة",
    ],
)
def test_what_is_no_image_is_refused(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        PROVIDER.encode(Prompt((UserMessage((ImagePart(url),)),)), route(), True)
    assert caught.value.code == "provider_rejected"
    assert caught.value.detail.endswith(".")
