"""Prompts as requests to the Responses API, and reasoning that goes back as it came."""

import json

import pytest

from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    KeptState,
    Prompt,
    TextPart,
    ToolChoice,
    ToolSpec,
    UserMessage,
)
from gateway.providers.responses_errors import REASONING_ITEMS
from tests.providers.responses_bodies import ENTRY, MODEL, QUESTION, SEALED, answered, body, call, called, request, state


def test_a_plain_question() -> None:
    sent = request(Prompt((QUESTION,), system="أنت معجم."))
    assert sent.url == "https://api.openai.com/v1/responses"
    assert sent.headers == {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
    assert body(Prompt((QUESTION,), system="أنت معجم.")) == {
        "model": MODEL,
        "input": [{"role": "user", "content": "ما معنى كتاب؟"}],
        "instructions": "أنت معجم.",
        "max_output_tokens": 8192,
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }


def test_a_model_that_does_not_reason_is_not_asked_about_it() -> None:
    found = body(Prompt((QUESTION,), temperature=0.5), "gpt-4o")
    assert found.keys() == {"model", "input", "store", "max_output_tokens", "temperature"}
    assert "temperature" not in body(Prompt((QUESTION,), temperature=0.5))


@pytest.mark.parametrize(("url", "padded"), [("https://api.openai.com/v1", False), ("http://localhost:8080/v1", True)])
def test_a_stream(url: str, padded: bool) -> None:
    found = body(Prompt((QUESTION,)), base_url=url, stream=True)
    assert found["stream"] is True
    assert found.get("stream_options") == (None if padded else {"include_obfuscation": False})


def test_the_api_takes_no_limit_below_sixteen() -> None:
    assert body(Prompt((QUESTION,), max_tokens=1))["max_output_tokens"] == 16


@pytest.mark.parametrize(
    ("dropped", "gone"),
    [
        ("temperature", "temperature"),
        ("reasoning", "reasoning"),
        ("include", "include"),
        ("max_output_tokens", "max_output_tokens"),
        ("stream_options", "stream_options"),
    ],
)
def test_what_was_refused_is_left_out(dropped: str, gone: str) -> None:
    assert gone not in body(Prompt((QUESTION,), temperature=1.0), stream=True, dropped=[dropped])


def test_tools() -> None:
    found = body(Prompt((QUESTION,), tools=(ENTRY, ToolSpec("list_words", "", {}))))
    assert found["tools"] == [
        {
            "type": "function",
            "name": "get_entry",
            "description": "مدخل من المعجم",
            "parameters": ENTRY.parameters,
            "strict": False,
        },
        {"type": "function", "name": "list_words", "parameters": {"type": "object", "properties": {}}, "strict": False},
    ]
    assert "tool_choice" not in found


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", "get_entry"), {"type": "function", "name": "get_entry"}),
    ],
)
def test_tool_choice(choice: ToolChoice, sent: object) -> None:
    assert body(Prompt((QUESTION,), tools=(ENTRY,), tool_choice=choice))["tool_choice"] == sent
    assert "tool_choice" not in body(Prompt((QUESTION,), tool_choice=choice))


def test_images() -> None:
    asked = UserMessage((TextPart("ما هذا؟"), ImagePart("data:image/png;base64,AAAA")))
    assert body(Prompt((asked,)))["input"][0]["content"] == [
        {"type": "input_text", "text": "ما هذا؟"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    ]


def test_a_history_of_another_provider() -> None:
    foreign = KeptState("anthropic", "claude-haiku-5-5", {"content": [{"type": "thinking"}]})
    history = (
        QUESTION,
        AssistantMessage("سأبحث.", (call("toolu_1"), call("functions.x:0", "قلم")), foreign),
        answered("toolu_1", "functions.x:0"),
        AssistantMessage("الكتاب ما يُكتب فيه."),
        UserMessage((TextPart("والقلم؟"),)),
    )
    found = body(Prompt(history, tools=(ENTRY,)))["input"]
    assert [item.get("type", item.get("role")) for item in found] == [
        "user",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "assistant",
        "user",
    ]
    assert json.loads(found[2]["arguments"]) == {"word": "كتاب"}
    ids = [found[place]["call_id"] for place in (2, 3, 4, 5)]
    assert ids[:2] == ids[2:]
    assert ids[0] == "toolu_1"
    assert ids[1].startswith("call_")


COMMENTARY = {"type": "message", "role": "assistant", "content": "سأبحث.", "phase": "commentary"}


def test_reasoning_goes_back_with_the_calls_it_led_to() -> None:
    kept = state(SEALED, COMMENTARY, called("call_a"), called("call_b", "قلم"))
    spoken = AssistantMessage("سأبحث.", (call("call_a"), call("renamed!", "قلم")), kept)
    found = body(Prompt((QUESTION, spoken, answered("call_a", "renamed!")), tools=(ENTRY,)))["input"]
    assert found[1:3] == [SEALED, COMMENTARY]
    assert [item["call_id"] for item in found[3:5]] == [item["call_id"] for item in found[5:]]
    assert found[3] == called("call_a")


def test_reasoning_of_finished_turns_stays_behind() -> None:
    spoken = AssistantMessage("", (call("call_a"),), state(SEALED, called("call_a")))
    later = (AssistantMessage("هو ما يُكتب."), QUESTION)
    found = body(Prompt((QUESTION, spoken, answered("call_a"), *later), tools=(ENTRY,)))["input"]
    assert found[1] == called("call_a")


@pytest.mark.parametrize(
    "kept",
    [
        state(SEALED, called("call_a"), model="gpt-6-astra"),
        state(SEALED, called("call_a"), provider="openrouter"),
        state(SEALED, called("call_a") | {"name": "other"}),
        state(SEALED, called("call_a"), called("call_b")),
        state(SEALED),
        KeptState("openai", MODEL, {"output": "؟"}),
        KeptState("openai", MODEL, {"content": [1, None]}),
    ],
)
def test_what_does_not_fit_is_not_sent(kept: KeptState) -> None:
    spoken = AssistantMessage("", (call("call_a"),), kept)
    found = body(Prompt((QUESTION, spoken, answered("call_a")), tools=(ENTRY,)))["input"]
    assert found[1] == called("call_a")


def test_refused_reasoning_is_left_out_and_an_alias_is_its_snapshot() -> None:
    spoken = AssistantMessage("", (call("call_a"),), state(SEALED, called("call_a"), model=f"{MODEL}-2026-09-30"))
    prompt = Prompt((QUESTION, spoken, answered("call_a")), tools=(ENTRY,))
    assert body(prompt)["input"][1] == SEALED
    assert body(prompt, dropped=[REASONING_ITEMS])["input"][1] == called("call_a")
