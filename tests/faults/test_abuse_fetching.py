"""The gateway calls nobody but the providers: no address that a request, a reply or a redirect names."""

import json
from typing import Any

import pytest

from simulator import Script
from tests.faults.wire import check_healthy, listener
from tests.running import PROVIDERS, Gateway, Start, Told

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def with_image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "ما هذا؟"}, {"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_images_are_for_the_provider_to_fetch(gateway: Gateway, provider: str, subtests: pytest.Subtests) -> None:
    async with listener() as (url, heard):
        for address in (
            f"{url}/x.png",
            f"{url.replace('127.0.0.1', 'localhost')}/x.png",
            f"{url.replace('127.0.0.1', '2130706433')}/x.png",
            f"{url.replace('http', 'https')}/x.png",
            f"{url.replace('//', '//user:password@')}/x.png?a=1#b",
            "http://169.254.169.254/latest/meta-data/",
            PIXEL,
        ):
            with subtests.test(address=address[:40]):
                body = {"messages": [with_image(address)], "provider": provider, "conversation_id": f"conv-{provider}"}
                for path in ("/chat", "/chat/stream"):
                    answer = await gateway.client.post(path, json=body)
                    assert answer.status_code in (200, 400)
                # And again as part of the history.
                again = await gateway.client.post(
                    "/chat", json={"message": "وبعد؟", **{k: body[k] for k in body if k != "messages"}}
                )
                assert again.status_code in (200, 400)
        assert heard == []
    await check_healthy(gateway)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "//127.0.0.1/x", "x.png"])
async def test_other_kinds_of_address_are_refused(gateway: Gateway, address: str) -> None:
    answer = await gateway.client.post("/chat", json={"messages": [with_image(address)]})
    assert answer.status_code == 422
    assert gateway.simulator.calls == []


async def test_addresses_anywhere_else_in_a_request_are_text(gateway: Gateway) -> None:
    async with listener() as (url, heard):
        body = {
            "message": f"اقرأ {url}/a",
            "system_prompt": f"{url}/b",
            "conversation_id": f"{url}/c",
            "model": f"{url}/d",
            "provider": "openai",
            "callback_url": f"{url}/e",
            "base_url": f"{url}/f",
            "tools": [{"name": "fetch", "description": url, "parameters": {"$ref": f"{url}/schema", "type": "object"}}],
        }
        assert (await gateway.client.post("/chat", json=body)).status_code == 400
        del body["model"]
        headers = {"Origin": url, "Referer": url, "X-Request-Id": "a", "X-Original-Destination": url, "traceparent": url}
        answer = await gateway.client.post(
            "/chat", json=body, headers={name: headers[name] for name in headers if name != "Origin"}
        )
        assert answer.status_code == 200
        assert heard == []
    await check_healthy(gateway)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_providers_redirect_is_not_followed(start_gateway: Start, status: int) -> None:
    """It would carry the key along."""
    gateway = await start_gateway(MAX_RETRIES="0")
    async with listener() as (url, heard):
        for path in ("/chat", "/chat/stream"):
            gateway.simulator.script(Script(status=status, headers={"Location": f"{url}/v1/chat/completions"}))
            assert (await gateway.client.post(path, json={"message": "سلام"})).status_code == 502
        assert heard == []


async def test_sources_that_a_reply_names_are_not_looked_at(gateway: Gateway) -> None:
    async with listener() as (url, heard):
        gateway.simulator.script(Script(reply=f"انظر {url} و![صورة]({url}/x.png)"))
        told = Told(await gateway.events({"message": "سلام"}))
        assert url in json.dumps(told.last)
        assert heard == []
