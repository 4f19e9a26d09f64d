"""The dashboard over ten thousand conversations, in a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browsing import IN_BROWSER_LOOP, NEEDS_CHROMIUM, Tab, open_tab
from tests.conftest import TEMPLATE, new_database
from tests.running import Gateway, serving

pytestmark = [NEEDS_CHROMIUM, IN_BROWSER_LOOP]
CONVERSATIONS = 10_000
ROWS = """
INSERT INTO conversations (id, provider, owner, created_at, updated_at)
SELECT 'c-' || n, p, 'user:' || n % 50, at, at FROM (
    SELECT n, (ARRAY['openai', 'anthropic', 'groq', 'google'])[1 + n % 4] AS p,
        (now() AT TIME ZONE 'utc') - n * interval '4 minutes' AS at
    FROM generate_series(1, $1::integer) AS n
) AS made;
"""
MESSAGES = """
INSERT INTO messages (
    conversation_id, role, content, timestamp, turn_id, status, caller, provider, model, started_ms, first_output_ms, ended_ms,
    input_tokens, output_tokens, cost_usd
)
SELECT
    c.id, role, CASE WHEN role = 'user' THEN 'ما معنى كلمة رقم ' || n ELSE
        CASE WHEN n % 2500 = 7 THEN 'المُعْجَمُ كتاب.' WHEN n % 2500 = 8 THEN 'معجم قديم.' ELSE 'كِتابٌ من الكُتُب.' END END,
    c.updated_at, md5(c.id)::uuid, CASE WHEN n % 100 = 9 THEN 'failed' ELSE 'completed' END, c.owner,
    CASE WHEN role = 'assistant' THEN c.provider END, 'm', ms, ms + 100 + n % 900, ms + 2000, 10, 20, 0.001
FROM conversations c, substring(c.id FROM 3) AS number, CAST(number AS integer) AS n,
    CAST(extract(epoch FROM c.updated_at) * 1000 AS bigint) AS ms, unnest(ARRAY['user', 'assistant']) AS role;
"""


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(postgres_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A server in open mode with a big log, in which all messages have been taken into the search."""
    async with new_database(postgres_url, TEMPLATE) as url, serving(url, tmp_path) as gateway:
        await gateway.rows(ROWS, CONVERSATIONS)
        await gateway.rows(MESSAGES)
        await gateway.rows(
            "INSERT INTO message_search SELECT id, conversation_id, caller, cost_usd, search_words(content) FROM messages"
        )
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def tab(gateway: Gateway, browser: Browser) -> AsyncIterator[Tab]:
    async with open_tab(browser, gateway.url, viewport={"width": 1280, "height": 900}, locale="ar") as found:
        yield found


async def ids(tab: Tab) -> list[str]:
    """The conversations that are listed."""
    links = await tab.page.locator("#conversations .opening").evaluate_all("(all) => all.map((one) => one.href)")
    return [link.rpartition("/")[2] for link in links]


async def test_a_walk_through_a_big_log(gateway: Gateway, tab: Tab) -> None:
    page = tab.page
    await tab.go("/dashboard?window=30d")
    since = await page.locator("#window-title time").get_attribute("datetime")
    rows = await gateway.rows(
        "SELECT provider, count(*) AS turns FROM messages WHERE role = 'assistant'"
        " AND timestamp >= $1::text::timestamptz AT TIME ZONE 'utc' GROUP BY provider",
        since,
    )
    names, cells = await tab.table("turns")
    sums = [sum(int(value.replace(",", "")) for value in column) for column in zip(*cells, strict=True)]
    assert dict(zip(names, sums, strict=True)) == {row["provider"]: row["turns"] for row in rows}

    await page.click("nav a[href='/dashboard/conversations']")
    assert await ids(tab) == [f"c-{number}" for number in range(1, 51)]
    await page.click("a[rel=next]")
    await page.wait_for_url("**cursor=**")
    assert await ids(tab) == [f"c-{number}" for number in range(51, 101)]

    wanted = [f"c-{number}" for number in range(7, CONVERSATIONS, 2500)]
    wanted = sorted([*wanted, *(f"c-{number + 1}" for number in range(7, CONVERSATIONS, 2500))], key=lambda name: int(name[2:]))
    for spelling in ("مُعْجَم", "معجم"):
        await tab.go("/dashboard/conversations")
        await page.fill("#q", spelling)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**q=**")
        assert await ids(tab) == wanted
        assert (await page.locator(".snippet mark").all_inner_texts())[:2] == ["المُعْجَمُ", "معجم"]
    edges = await page.evaluate(
        """() => {
            const range = document.createRange(), line = document.querySelector('.snippet');
            range.selectNodeContents(line);
            const text = range.getBoundingClientRect(), box = line.getBoundingClientRect();
            return [text.left - box.left, box.right - text.right];
        }"""
    )
    assert edges[1] < 2 < edges[0], "an Arabic snippet stands at the right edge"
    href = await page.locator("a[download]").get_attribute("href")
    lines = (await gateway.client.get(str(href))).text.splitlines()
    assert len(lines) == len(wanted)

    await tab.go("/dashboard/conversations?status=failed&provider=anthropic")
    assert await ids(tab) == [f"c-{number}" for number in range(9, 5001, 100)]
    await page.locator("#conversations .opening").first.click()
    await expect(page.locator(".replied .badge.failed")).to_be_visible()
    assert await page.locator(".message").count() == 2
    brand, tools = [await page.locator(place).bounding_box() for place in (".brand", ".tools")]
    assert brand is not None
    assert tools is not None
    assert brand["x"] > tools["x"]
