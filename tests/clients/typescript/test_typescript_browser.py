"""The TypeScript client on a page of another origin in a real browser, on a connection that keeps breaking."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.clients.conftest import Receive
from tests.clients.replies import ASKED, LONG, check, lasts
from tests.running import Gateway, Start
from tests.web.pages.browsing import NEEDS_CHROMIUM, running_browser

pytestmark = NEEDS_CHROMIUM
# Before the gateway hears of it; within the head; within a word; within an event.
CUTS = (0, 150, 2000, 0, 1501)

# The head of each of the following: `open` makes a gateway that asks by `way`.
OPEN = """
async ([base, body, way]) => {
  const {Gateway, xhrTransport} = await import('/client/index.js');
  const transport = way === 'xhr' ? {transport: xhrTransport(XMLHttpRequest)} : {};
  const open = (options) => new Gateway({baseUrl: base, ...transport, ...options});
"""
READ = """
  const told = {text: '', ends: [], starts: 0};
  for await (const event of open({retry: {minDelayMs: 10}}).stream(body)) {
    if (event.type === 'start') told.starts += 1;
    if (event.type === 'token') told.text += event.text;
    if (event.type === 'done') told.ends.push(event.reply);
  }
  return told;
}
"""
# The app goes into the background and comes back in the middle of a reply; in the end its user has heard enough.
BACK = """
  const gateway = open();
  const stream = gateway.stream(body);
  const told = {types: [], text: '', reply: null};
  let back = false;
  for await (const event of stream) {
    if (event.type !== 'token') told.types.push(event.state ?? event.type);
    if (event.type === 'token') {
      told.text += event.text;
      if (told.types.at(-1) === 'open') stream.stop();
      else if (!back) {
        back = true;
        gateway.pause();
        setTimeout(() => gateway.resume());
      }
    }
    if (event.type === 'done') told.reply = event.reply;
  }
  return told;
}
"""
# What the page could not read without CORS_ORIGINS: headers of an error.
REFUSED = """
  try {
    for await (const _ of open().stream(body)) {}
  } catch ({name, code, retryAfter}) {
    return {name, code, retryAfter};
  }
}
"""


@pytest.fixture
async def origin(project: Path) -> AsyncIterator[str]:
    """Where an empty page lies, and the packed client's modules."""
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>معجم</title>", content_type="text/html")

    app.router.add_get("/", answer)
    app.router.add_static("/client", project / "node_modules/@m3ajem/gateway/dist/esm")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def gateway(start_gateway: Start, origin: str) -> Gateway:
    """One that pages of `origin` may call."""
    return await start_gateway(CORS_ORIGINS=origin)


@pytest.fixture
async def page(origin: str) -> AsyncIterator[Page]:
    """The empty page."""
    async with running_browser() as browser:
        found = await browser.new_page()
        await found.goto(origin)
        yield found


async def test_in_a_browser(gateway: Gateway, receive: Receive, page: Page) -> None:
    for way in ("fetch", "xhr"):
        bad = await receive(*CUTS)
        body = {**ASKED, "conversation_id": f"conv-{way}"}
        told: dict[str, Any] = await page.evaluate(OPEN + READ, [bad.url, body, way])
        assert told["starts"] == 1
        # A page may never see what came just before a connection broke: which request is the first GET is the browser's affair.
        methods = [request.method for request in bad.requests]
        assert methods[:2] == ["POST", "POST"]
        assert methods == sorted(methods, reverse=True)
        assert len({request.headers["Idempotency-Key"] for request in bad.requests if request.method == "POST"}) == 1
        await check(gateway, told["text"], told["ends"])
        gateway.simulator.calls.clear()
        await gateway.rows("TRUNCATE messages CASCADE")
    refused = await page.evaluate(OPEN + REFUSED, [gateway.url, {"message": "سلام [[sim: status=429 retry_after=60]]"}, "fetch"])
    assert refused == {"name": "ProviderError", "code": "provider_overloaded", "retryAfter": 60}


async def test_back_from_the_background(gateway: Gateway, receive: Receive, page: Page) -> None:
    for way in ("fetch", "xhr"):
        bad = await receive()
        told: dict[str, Any] = await page.evaluate(OPEN + BACK, [bad.url, LONG, way])
        assert told["types"] == ["start", "lost", "open", "done"]
        assert [request.method for request in bad.requests] == ["POST", "GET"]
        assert lasts(bad)[1]
        assert (told["reply"]["status"], told["reply"]["content"]) == ("stopped", told["text"])
        rows = await gateway.rows("SELECT content, status FROM messages WHERE role = 'assistant'")
        assert rows == [{"content": told["text"], "status": "stopped"}]
        await gateway.rows("TRUNCATE messages CASCADE")
