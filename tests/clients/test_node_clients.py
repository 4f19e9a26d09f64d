"""Clients for Node and React Native on a connection that keeps breaking."""

from typing import Any

import pytest

from tests.clients.conftest import Node, Receive
from tests.clients.cutting import Reception
from tests.clients.replies import ASKED, check, lasts
from tests.documents import README, blocks
from tests.running import Gateway

# Within a word; before the gateway hears of it; within the head; within an event.
CUTS = (2000, 0, 150, 1501)


def recipe(*, closes: bool = True) -> str:
    """The README's example; `closes`: it closes the stream at the end, as it should, but the gateway does not count on it."""
    [code] = [block.text for block in blocks(README) if block.language == "js" and "react-native-sse" in block.text]
    assert code.count("stream.close()") == 3
    code = code.replace("import EventSource from 'react-native-sse';", "")
    return code if closes else code.replace("stream.close()", "0")


def given(bad: Reception, **more: Any) -> dict[str, Any]:
    return {"base": bad.url, "questionId": "question-1", "recipe": recipe(), **ASKED, **more}


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "does-not-close"])
async def test_react_native(gateway: Gateway, receive: Receive, node: Node, closes: bool) -> None:
    bad = await receive(*CUTS)
    told = await node("react_native.mjs", given(bad, recipe=recipe(closes=closes)))
    await check(gateway, told["text"], told["ends"])
    assert told["shown"] == []
    assert [request.method for request in bad.requests] == ["POST"] * (len(CUTS) + 1)
    first, *others = lasts(bad)
    assert first is None
    assert None not in others


async def test_react_native_asks_once_behind_the_end(gateway: Gateway, receive: Receive, node: Node) -> None:
    """An app that opens the stream again, for reasons of its own, hears that there is nothing more, and that is all."""
    bad = await receive()
    again = "stream.addEventListener('done', () => setTimeout(() => stream.open()));"
    told = await node("react_native.mjs", given(bad, recipe=recipe(closes=False) + again))
    await check(gateway, told["text"], told["ends"])
    assert lasts(bad) == [None, f"{told['ends'][0]['turn_id']}.end"]


async def test_react_native_hears_of_a_refusal(gateway: Gateway, receive: Receive, node: Node) -> None:
    """The library would ask the same again every five seconds."""
    bad = await receive()
    told = await node("react_native.mjs", given(bad, message=""))
    assert (told["text"], told["ends"]) == ("", [])
    [shown] = told["shown"]
    assert shown.endswith(".")
    assert len(bad.requests) == 1
    assert gateway.simulator.calls == []


async def test_react_native_hears_of_a_failure(gateway: Gateway, receive: Receive, node: Node) -> None:
    bad = await receive()
    message = "سلام [[sim: fault=error@mid status=400]]"
    told = await node("react_native.mjs", given(bad, message=message, recipe=recipe(closes=False)))
    assert (len(told["shown"]), told["ends"]) == (1, [])
    assert told["text"]
    assert len(bad.requests) == 1


async def test_eventsource_parser(gateway: Gateway, receive: Receive, node: Node) -> None:
    bad = await receive(*CUTS)
    told = await node("parser.mjs", {"base": bad.url, "body": ASKED, "key": "question-1"})
    await check(gateway, told["text"], told["ends"])
    assert [request.method for request in bad.requests] == ["POST", *["GET"] * len(CUTS)]
