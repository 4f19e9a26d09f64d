"""A browser's own readers, on a page of another origin, on a connection that keeps breaking."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.clients.conftest import Receive
from tests.clients.replies import ASKED, check, lasts
from tests.running import Gateway, Start
from tests.web.pages.browsing import NEEDS_CHROMIUM, running_browser

pytestmark = NEEDS_CHROMIUM
CUTS = (2000, 0, 1501)

# The browser reconnects by itself until it is told that there is nothing more.
EVENT_SOURCE = """
async ([base, body]) => {
  const answer = await fetch(`${base}/chat/stream`, {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body),
  });
  const turn = answer.headers.get('X-Turn-Id');
  await answer.body.cancel();
  const told = {text: '', ends: [], broken: 0};
  const source = new EventSource(`${base}/chat/stream/${turn}`);
  source.addEventListener('token', (event) => { told.text += JSON.parse(event.data).text; });
  for (const name of ['done', 'failed']) source.addEventListener(name, (event) => told.ends.push(JSON.parse(event.data)));
  return new Promise((resolve) => {
    source.onerror = () => {
      told.broken += 1;
      if (source.readyState === EventSource.CLOSED) resolve(told);
    };
  });
}
"""

FETCH = """
async ([base, body]) => {
  const told = {text: '', ends: [], broken: 0};
  let last = null;
  while (!told.ends.length) {
    const headers = {'Content-Type': 'application/json', 'Idempotency-Key': 'question-1'};
    if (last) headers['Last-Event-ID'] = last;
    try {
      const answer = await fetch(`${base}/chat/stream`, {method: 'POST', headers, body: JSON.stringify(body)});
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const {value, done} = await reader.read();
        if (done) break;
        const blocks = (rest + value).split('\\n\\n');
        rest = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split('\\n').map((line) => line.split(/: (.*)/s)));
          if (!fields.event) continue;
          last = fields.id;
          if (fields.event === 'token') told.text += JSON.parse(fields.data).text;
          if (['done', 'failed'].includes(fields.event)) told.ends.push(JSON.parse(fields.data));
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError) || told.broken === 10) throw error;
      told.broken += 1;
    }
  }
  return told;
}
"""


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """Where an empty page lies, and no gateway."""
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>معجم</title>", content_type="text/html")

    app.router.add_get("/", answer)
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


async def test_event_source(gateway: Gateway, receive: Receive, page: Page) -> None:
    # The first cut is for the POST, whose answer the page leaves at once.
    bad = await receive(100_000, *CUTS)
    told = await page.evaluate(EVENT_SOURCE, [bad.url, ASKED])
    await check(gateway, told["text"], told["ends"])
    # Once more for every break, and once behind the end, which 204 answers.
    assert [request.method for request in bad.requests] == ["POST", *["GET"] * (len(CUTS) + 2)]
    # A request that a closed connection met before any answer Chromium repeats by itself, and the page hears nothing of it.
    assert told["broken"] in (len(CUTS) + 1, len(CUTS) + 2)
    assert lasts(bad)[-1] == f"{told['ends'][0]['turn_id']}.end"


async def test_fetch(gateway: Gateway, receive: Receive, page: Page) -> None:
    bad = await receive(*CUTS)
    told = await page.evaluate(FETCH, [bad.url, ASKED])
    await check(gateway, told["text"], told["ends"])
    assert told["broken"] == len(CUTS)
    assert [request.method for request in bad.requests] == ["POST"] * (len(CUTS) + 1)
