"""OpenAI's client for JavaScript, and the AI SDK, which is built for the same format."""

from typing import Any

import pytest

from simulator import parse_text
from tests.clients.openai.asked import QUESTION, SEARCH, last_logged, said
from tests.clients.openai.conftest import MODELS
from tests.clients.programs import Node
from tests.running import Gateway

TOOLS: dict[str, Any] = {"tools": [SEARCH], "result": "ما يُكتَب فيه"}
BROKEN = said("[[sim: tokens=40 fault=close@mid]] أطِل")


async def reasoning(gateway: Gateway, completion_id: str) -> str:
    return "".join(thought["content"] for thought in (await last_logged(gateway, completion_id))["thoughts"])


@pytest.mark.parametrize("model", MODELS)
async def test_openai_for_javascript(gateway: Gateway, openai_node: Node, model: str) -> None:
    asked = {"model": model, "messages": said(QUESTION)}
    gateway.simulator.script(parse_text("tools=2"))
    told = await openai_node(
        "openai.mjs",
        {
            "base": gateway.url,
            "withTools": {"model": model, "messages": said("ما معنى «كتاب» وما معنى «سلام»؟")},
            "whole": asked,
            "stream": asked,
            "refused": {"model": "no-such-model", "messages": said("سؤال")},
            "models": True,
            **TOOLS,
        },
    )
    [choice] = told["whole"]["choices"]
    assert choice["message"]["content"] == (await last_logged(gateway, told["whole"]["id"]))["content"]
    stored = await last_logged(gateway, told["stream"]["id"])
    assert told["stream"]["text"] == stored["content"]
    assert stored["content"]
    assert (told["stream"]["reasons"], told["stream"]["error"]) == (["stop"], None)
    assert told["stream"]["usage"]["completion_tokens"] == stored["usage"]["output_tokens"]
    assert (told["withTools"]["calls"], len(told["withTools"]["results"])) == (2, 2)
    assert told["withTools"]["text"]
    assert told["refused"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found", "requestId": True}
    assert set(told["models"]) == set(MODELS)
    answered = await gateway.rows("SELECT result FROM tool_calls")
    assert [row["result"] for row in answered] == ['"ما يُكتَب فيه"'] * 2


async def test_a_broken_stream_in_javascript(gateway: Gateway, openai_node: Node) -> None:
    told = await openai_node("openai.mjs", {"base": gateway.url, "stream": {"model": "gpt-6-luna", "messages": BROKEN}})
    assert (told["stream"]["error"]["name"], told["stream"]["error"]["code"]) == ("APIError", "provider_error")
    assert told["stream"]["reasons"] == []
    assert told["stream"]["text"] == (await last_logged(gateway, told["stream"]["id"]))["content"]


@pytest.mark.parametrize("model", ["openai/gpt-6-luna", "anthropic/claude-haiku-5-5"])
async def test_ai_sdk(gateway: Gateway, openai_node: Node, model: str) -> None:
    told = await openai_node(
        "ai_sdk.mjs",
        {
            "base": gateway.url,
            "model": model,
            "messages": said(QUESTION),
            "toolMessages": said("ما معنى «كتاب»؟"),
            "brokenMessages": BROKEN,
            **TOOLS,
        },
    )
    for way in ("whole", "stream"):
        stored = await last_logged(gateway, told[way]["id"])
        assert told[way]["text"] == stored["content"]
        assert told[way]["reasoning"] == await reasoning(gateway, told[way]["id"])
    assert told["stream"]["reason"] == "stop"
    assert told["stream"]["usage"]["outputTokens"] == stored["usage"]["output_tokens"]
    assert (told["agent"]["steps"], len(told["agent"]["called"])) == (2, 1)
    assert told["agent"]["text"]
    assert told["errors"] != []
