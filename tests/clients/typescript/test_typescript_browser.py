"""The TypeScript client on a page of another origin in a real browser, on a connection that keeps breaking."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browsing import IN_BROWSER_LOOP, NEEDS_CHROMIUM
from tests.clients.abroad import Abroad, abroad
from tests.clients.cutting import reception
from tests.clients.replies import ASKED, LONG, check, lasts

pytestmark = [NEEDS_CHROMIUM, IN_BROWSER_LOOP]
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


@pytest_asyncio.fixture(loop_scope="session")
async def there(browser: Browser, postgres_url: str, tmp_path: Path, project: Path) -> AsyncIterator[Abroad]:
    """A page that can import the packed client's modules."""
    async with abroad(browser, postgres_url, tmp_path, project / "node_modules/@m3ajem/gateway/dist/esm") as found:
        yield found


@pytest.mark.parametrize("way", ["fetch", "xhr"])
async def test_in_a_browser(there: Abroad, way: str) -> None:
    async with reception(there.gateway.url, CUTS) as bad:
        told: dict[str, Any] = await there.page.evaluate(OPEN + READ, [bad.url, ASKED, way])
    assert told["starts"] == 1
    # A page may never see what came just before a connection broke: which request is the first GET is the browser's affair.
    methods = [request.method for request in bad.requests]
    assert methods[:2] == ["POST", "POST"]
    assert methods == sorted(methods, reverse=True)
    assert len({request.headers["Idempotency-Key"] for request in bad.requests if request.method == "POST"}) == 1
    await check(there.gateway, told["text"], told["ends"])


async def test_a_refusal_in_a_browser(there: Abroad) -> None:
    asked = {"message": "سلام [[sim: status=429 retry_after=60]]"}
    refused = await there.page.evaluate(OPEN + REFUSED, [there.gateway.url, asked, "fetch"])
    assert refused == {"name": "ProviderError", "code": "provider_overloaded", "retryAfter": 60}


@pytest.mark.parametrize("way", ["fetch", "xhr"])
async def test_back_from_the_background(there: Abroad, way: str) -> None:
    async with reception(there.gateway.url, ()) as bad:
        told: dict[str, Any] = await there.page.evaluate(OPEN + BACK, [bad.url, LONG, way])
    assert told["types"] == ["start", "lost", "open", "done"]
    assert [request.method for request in bad.requests] == ["POST", "GET"]
    assert lasts(bad)[1]
    assert (told["reply"]["status"], told["reply"]["content"]) == ("stopped", told["text"])
    rows = await there.gateway.rows("SELECT content, status FROM messages WHERE role = 'assistant'")
    assert rows == [{"content": told["text"], "status": "stopped"}]
