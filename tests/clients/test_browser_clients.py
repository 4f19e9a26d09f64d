"""A browser's own readers, on a page of another origin, on a connection that keeps breaking."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests.browsing import IN_BROWSER_LOOP, NEEDS_CHROMIUM
from tests.clients.abroad import Abroad, abroad
from tests.clients.cutting import reception
from tests.clients.replies import ASKED, check, lasts

pytestmark = [NEEDS_CHROMIUM, IN_BROWSER_LOOP]
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


@pytest_asyncio.fixture(loop_scope="session")
async def there(browser: Browser, postgres_url: str, tmp_path: Path) -> AsyncIterator[Abroad]:
    async with abroad(browser, postgres_url, tmp_path) as found:
        yield found


async def test_event_source(there: Abroad) -> None:
    # The first cut is for the POST, whose answer the page leaves at once.
    async with reception(there.gateway.url, [100_000, *CUTS]) as bad:
        told = await there.page.evaluate(EVENT_SOURCE, [bad.url, ASKED])
    await check(there.gateway, told["text"], told["ends"])
    # Once more for every break, and once behind the end, which 204 answers.
    assert [request.method for request in bad.requests] == ["POST", *["GET"] * (len(CUTS) + 2)]
    # A request that a closed connection met before any answer Chromium repeats by itself, and the page hears nothing of it.
    assert told["broken"] in (len(CUTS) + 1, len(CUTS) + 2)
    assert lasts(bad)[-1] == f"{told['ends'][0]['turn_id']}.end"


async def test_fetch(there: Abroad) -> None:
    async with reception(there.gateway.url, CUTS) as bad:
        told = await there.page.evaluate(FETCH, [bad.url, ASKED])
    await check(there.gateway, told["text"], told["ends"])
    assert told["broken"] == len(CUTS)
    assert [request.method for request in bad.requests] == ["POST"] * (len(CUTS) + 1)
