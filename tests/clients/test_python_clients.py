"""Clients for Python on a connection that keeps breaking."""

import json
from typing import Any

import httpx
from httpx_sse import aconnect_sse

from tests.clients.conftest import Receive
from tests.clients.replies import ASKED, check, lasts
from tests.running import Gateway, open_client

CUTS = (1000, 0, 150, 1501, 2000)


async def test_httpx_sse(gateway: Gateway, receive: Receive) -> None:
    """It repeats the POST with `Last-Event-ID`."""
    bad = await receive(*CUTS)
    text, ends, headers = "", list[dict[str, Any]](), {"Idempotency-Key": "question-1"}
    async with open_client(bad.url) as client:
        while not ends:
            try:
                async with aconnect_sse(client, "POST", "/chat/stream", json=ASKED, headers=headers) as source:
                    async for event in source.aiter_sse():
                        headers["Last-Event-ID"] = event.id
                        if event.event == "token":
                            text += event.json()["text"]
                        if event.event in ("done", "failed"):
                            ends.append(event.json())
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                continue
        answer = await client.post("/chat/stream", json=ASKED, headers=headers)
    assert answer.status_code == 204
    await check(gateway, text, ends)
    first, *others = lasts(bad)
    assert first is None
    assert None not in others
    assert len(bad.requests) == len(CUTS) + 2


async def test_httpx(gateway: Gateway, receive: Receive) -> None:
    """A client that knows nothing of event ids: it repeats the question with its key, and begins anew each time."""
    bad = await receive(*CUTS)
    text, ends = "", list[dict[str, Any]]()
    async with open_client(bad.url) as client:
        while not ends:
            text, event = "", ""
            try:
                async with client.stream("POST", "/chat/stream", json=ASKED, headers={"Idempotency-Key": "question-1"}) as answer:
                    async for line in answer.aiter_lines():
                        name, _, value = line.partition(": ")
                        if name == "event":
                            event = value
                        elif name == "data" and event == "token":
                            text += json.loads(value)["text"]
                        elif name == "data" and event in ("done", "failed"):
                            ends.append(json.loads(value))
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                continue
    await check(gateway, text, ends)
    assert lasts(bad) == [None] * (len(CUTS) + 1)
