"""The pages as a browser shows them: their numbers, their direction, their manners, on a log of some hundreds of talks."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, StorageState, expect

from tests.browsing import IN_BROWSER_LOOP, NEEDS_CHROMIUM, Tab, open_tab
from tests.conftest import TEMPLATE, new_database
from tests.running import Gateway, serving
from tests.web.callers import ADMIN, CLOSED, UNLIMITED, bearer
from tests.web.pages.seeding import TALK, seed

pytestmark = [NEEDS_CHROMIUM, IN_BROWSER_LOOP]
PATHS = (
    "/dashboard",
    "/dashboard?window=30d",
    "/dashboard/conversations",
    f"/dashboard/conversations/{TALK}",
    "/dashboard/errors",
    "/dashboard/callers?window=30d",
    "/playground",
)
LOOKS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone-arabic-dark": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "locale": "ar", "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "desk-arabic": {"viewport": {"width": 1280, "height": 900}, "locale": "ar"},
}
# Between them they have both widths, both directions and both sets of colours; what axe-core looks at takes it a second a page.
AUDITED = ("desk", "phone-arabic-dark")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def seeded(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with new_database(postgres_url, TEMPLATE) as url:
        await seed(url)
        async with serving(url, tmp_path_factory.mktemp("data"), **CLOSED | UNLIMITED) as gateway:
            yield gateway


async def sign_in(tab: Tab, path: str = "/dashboard") -> None:
    await tab.go(path)
    await tab.page.fill("#token", ADMIN)
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_url(f"**{path}")


@pytest.mark.parametrize("name", LOOKS)
async def test_every_page_is_well_behaved(seeded: Gateway, browser: Browser, name: str) -> None:
    async with open_tab(browser, seeded.url, **LOOKS[name]) as tab:
        await tab.go("/dashboard/login")
        await tab.look(f"{name}-login")
        assert name not in AUDITED or await tab.faults() == []
        await sign_in(tab)
        for path in PATHS:
            await tab.go(path)
            await tab.look(f"{name}{path.partition('?')[0].replace('/', '-')}{'-30d' if '30d' in path else ''}")
            assert name not in AUDITED or await tab.faults() == [], path
            wide = await tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is wider than the window"
            direction = await tab.page.evaluate("getComputedStyle(document.body).direction")
            assert direction == ("rtl" if "arabic" in name else "ltr")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signed_in(seeded: Gateway, browser: Browser) -> StorageState:
    """The cookie of somebody who has signed in."""
    async with open_tab(browser, seeded.url) as tab:
        await sign_in(tab)
        return await tab.page.context.storage_state()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(seeded: Gateway, browser: Browser, signed_in: StorageState) -> AsyncIterator[Tab]:
    """A tab of somebody who has signed in."""
    async with open_tab(browser, seeded.url, viewport={"width": 1280, "height": 900}, storage_state=signed_in) as found:
        yield found


async def shown(tab: Tab, chart: str) -> dict[str, float]:
    """The sum of every column of a chart's table."""
    names, rows = await tab.table(chart)
    sums = [sum(float(value.replace(",", "").replace("$", "")) for value in column) for column in zip(*rows, strict=True)]
    return dict(zip(names, sums, strict=True))


@pytest.mark.parametrize("window", ["24h", "30d"])
async def test_charts_show_the_numbers_of_the_log(seeded: Gateway, tab: Tab, window: str) -> None:
    await tab.go(f"/dashboard?window={window}")
    since = await tab.page.locator("#window-title time").get_attribute("datetime")
    condition = "role = 'assistant' AND timestamp >= $1::text::timestamptz AT TIME ZONE 'utc'"
    rows = await seeded.rows(
        f"SELECT provider, count(*) AS turns, sum(cost_usd) AS cost FROM messages WHERE {condition} GROUP BY provider", since
    )
    troubled = await seeded.rows(
        f"SELECT status, count(*) AS turns FROM messages WHERE {condition} AND status <> 'completed' GROUP BY status", since
    )
    assert await shown(tab, "turns") == {row["provider"]: row["turns"] for row in rows}
    cost = await shown(tab, "cost")
    assert cost == {row["provider"]: pytest.approx(row["cost"], abs=0.005) for row in rows}
    assert await tab.page.locator("#turns-total").inner_text() == str(sum(row["turns"] for row in rows))
    trouble = {name: count for name, count in (await shown(tab, "trouble")).items() if count}
    assert trouble == {row["status"]: row["turns"] for row in troubled}


async def test_bars_are_as_high_as_their_numbers(seeded: Gateway, tab: Tab) -> None:
    await tab.go("/dashboard?window=30d")
    _, rows = await tab.table("turns")
    numbers = [int(value) for row in rows for value in row if value not in ("0", "–")]
    drawn = tab.page.locator("figure[aria-labelledby=turns-title] rect")
    heights = [float(height) for height in await drawn.evaluate_all("(bars) => bars.map((bar) => bar.getAttribute('height'))")]
    assert len(heights) == len(numbers)
    assert heights == pytest.approx([number * heights[0] / numbers[0] for number in numbers], abs=0.01)


async def test_arabic_is_laid_out_from_the_right(seeded: Gateway, browser: Browser, signed_in: StorageState) -> None:
    async with open_tab(
        browser, seeded.url, viewport={"width": 1280, "height": 900}, locale="ar", storage_state=signed_in
    ) as tab:
        await tab.go(f"/dashboard/conversations/{TALK}")
        brand, out = [await tab.page.locator(place).bounding_box() for place in (".brand", ".tools")]
        assert brand is not None
        assert out is not None
        assert brand["x"] > out["x"]
        await tab.go("/dashboard/conversations")
        assert await tab.page.locator("#q").evaluate("one => getComputedStyle(one).direction") == "rtl"
        await tab.page.fill("#q", "gpt")
        assert await tab.page.locator("#q").evaluate("one => getComputedStyle(one).direction") == "ltr"
        await tab.go(f"/dashboard/conversations/{TALK}")
        # Each paragraph of a reply has its own direction, whatever the page's is.
        edges = await tab.page.evaluate(
            """() => {
                const text = [...document.querySelectorAll('.replied > .text')].find((one) => one.innerText.includes('English'));
                const node = text.firstChild, box = text.getBoundingClientRect();
                return text.innerText.split('\\n').map((line) => {
                    const range = document.createRange(), start = node.data.indexOf(line);
                    range.setStart(node, start);
                    range.setEnd(node, start + line.length);
                    const found = range.getBoundingClientRect();
                    return [Math.abs(found.left - box.left) < 2, Math.abs(found.right - box.right) < 2];
                });
            }"""
        )
        assert edges == [[False, True], [True, False], [False, True]]


async def test_the_overview_refreshes_itself(seeded: Gateway, tab: Tab) -> None:
    await tab.page.clock.install()
    await tab.go("/dashboard?window=1h")
    before = int(await tab.page.locator("#turns-total").inner_text())
    await tab.page.locator("figure details summary").first.click()
    await tab.page.locator("h1").click()
    await tab.page.evaluate("document.activeElement.blur()")
    answer = await seeded.client.post("/chat", json={"message": "سلام"}, headers=bearer(ADMIN))
    assert answer.status_code == 200
    await tab.page.clock.run_for(6000)
    await expect(tab.page.locator("#turns-total")).to_have_text(str(before + 1))
    assert await tab.page.locator("figure details[open]").count() == 1, "a table that was open stays so"
    await tab.page.click("#pause")
    await expect(tab.page.locator("#pause")).to_have_attribute("aria-pressed", "true")


async def test_conversations_are_found_by_filters(seeded: Gateway, tab: Tab) -> None:
    await tab.go("/dashboard/conversations")
    assert await tab.page.locator("#conversations > li").count() == 50
    first = await tab.page.locator(".opening").all_inner_texts()
    await tab.page.click("text=Older")
    await expect(tab.page.locator("text=Newest")).to_be_visible()
    assert set(await tab.page.locator(".opening").all_inner_texts()).isdisjoint(first)
    await tab.go("/dashboard/conversations")
    await tab.page.select_option("#status", "failed")
    await tab.page.select_option("#provider", "groq")
    await tab.page.click("text=Show")
    [row] = await seeded.rows(
        """SELECT count(*) AS wanted FROM conversations c WHERE provider = 'groq' AND EXISTS (
            SELECT FROM messages m WHERE m.conversation_id = c.id AND m.role = 'assistant' AND m.status = 'failed')"""
    )
    assert await tab.page.locator("#conversations > li").count() == row["wanted"] > 0
    await tab.go("/dashboard/conversations")
    await tab.page.fill("#q", "ANSWER ما ليس فيه")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator(".nothing")).to_be_visible()


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(tab: Tab) -> None:
    await tab.go("/dashboard")
    await tab.page.keyboard.press("Tab")
    await expect(tab.page.locator(".skip")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#main")).to_be_focused()
    await tab.page.keyboard.press("Tab")
    focused = tab.page.locator(":focus")
    await expect(focused).to_have_text("1h")
    assert await focused.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_url("**/dashboard?window=1h")


async def test_signing_out_ends_it(seeded: Gateway, browser: Browser) -> None:
    async with open_tab(browser, seeded.url) as tab:
        await sign_in(tab)
        await tab.page.click("text=Sign out")
        await expect(tab.page.locator("#token")).to_be_visible()
        await tab.page.goto(f"{tab.home}/dashboard/callers")
        await expect(tab.page.locator("#token")).to_be_visible()
