"""Groq: OpenAI's format at another path, and what it does differently."""

import json

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamError
from gateway.core.messages import AssistantMessage, KeptState, Prompt
from gateway.providers.openai import GROQ
from tests.providers import fixture_cases as fx
from tests.providers.openai_bodies import QUESTION, as_prompt, body, comparable, recorded, request


def test_the_call() -> None:
    found = request(Prompt((QUESTION,)), "openai/gpt-oss-120b", provider="groq")
    assert found.url == "https://api.groq.com/openai/v1/chat/completions"
    assert found.headers["Authorization"] == "Bearer sk-test"


def test_a_stream_is_asked_for_with_usage_alone() -> None:
    found = body(Prompt((QUESTION,), system="س", temperature=0.3), "openai/gpt-oss-120b", provider="groq", stream=True)
    assert found == {
        "model": "openai/gpt-oss-120b",
        "messages": [{"role": "system", "content": "س"}, {"role": "user", "content": "ما حالة الطقس؟"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 8192,
        "temperature": 0.3,
    }


@pytest.mark.parametrize(
    ("model", "wanted"), [("qwen/qwen3-32b", "parsed"), ("openai/gpt-oss-120b", None), ("llama-3.3-70b-versatile", None)]
)
def test_reasoning_is_kept_out_of_the_text(model: str, wanted: str | None) -> None:
    assert body(Prompt((QUESTION,)), model, provider="groq").get("reasoning_format") == wanted
    assert "reasoning_format" not in body(Prompt((QUESTION,)), model, provider="groq", dropped=("reasoning_format",))


def test_messages_hold_no_field_that_groq_does_not_know() -> None:
    said = AssistantMessage("نعم", state=KeptState("groq", "openai/gpt-oss-120b", {"reasoning": "x"}))
    messages = body(Prompt((QUESTION, said, QUESTION)), "openai/gpt-oss-120b", provider="groq")["messages"]
    assert messages[1] == {"role": "assistant", "content": "نعم"}


@pytest.mark.parametrize("name", ["groq-tool-result", "groq-gptoss-after-tool-error"])
def test_recorded_requests(name: str) -> None:
    recording = recorded(name)
    found = body(as_prompt(recording), recording["model"], provider="groq")
    assert comparable(found["messages"]) == comparable(recording["messages"])
    assert [tool["function"]["parameters"] for tool in found["tools"]] == [
        tool["function"]["parameters"] for tool in recording["tools"]
    ]


@pytest.mark.parametrize("name", ["stream-error-tool-use-failed", "stream-error-tool-use-failed-text"])
def test_a_bad_tool_call_may_be_tried_again(name: str) -> None:
    case = fx.case("groq", name)
    end = fx.terminal(fx.decode_stream(GROQ, case.body))
    assert isinstance(end, ev.Failed)
    assert isinstance(end.error, UpstreamError)
    assert (end.error.code, end.error.kind, end.error.retryable) == ("provider_error", "server", True)
    assert end.error.upstream_status == 400
    assert "tool_use_failed" in end.error.upstream_text
    assert case.expected["error"]["message"] not in end.error.detail


def test_usage_given_twice_counts_once() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    chunk = {"choices": [], "usage": usage, "x_groq": {"id": "r", "usage": usage}}
    body_bytes = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()
    events = fx.decode_stream(GROQ, body_bytes)
    assert [event for event in events if isinstance(event, ev.UsageReported)] == [ev.UsageReported(5, 7)]


def test_an_early_stop_told_in_x_groq_is_a_failure() -> None:
    body_bytes = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"x_groq":{"error":"over capacity"}}\n\n'
    events = fx.decode_stream(GROQ, body_bytes + b"data: [DONE]\n\n")
    assert isinstance(fx.terminal(events), ev.Failed)


def test_search_results_carry_a_short_snippet() -> None:
    case = fx.case("groq", "json-compound-web-search")
    sources = fx.fold(GROQ.decode_reply(case.body)).sources
    assert any(source.snippet for source in sources)
    assert all(len(source.snippet or "") <= 500 for source in sources)
