"""The pages as a browser shows them: their numbers, their direction, their manners, on a log of some hundreds of talks."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.running import Gateway, Start
from tests.web.callers import ADMIN, CLOSED, UNLIMITED
from tests.web.pages.browsing import NEEDS_CHROMIUM, Tab, open_tab, running_browser
from tests.web.pages.seeding import TALK, seed

pytestmark = NEEDS_CHROMIUM
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
    "desk-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "phone-arabic": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "locale": "ar"},
    "desk-arabic": {"viewport": {"width": 1280, "height": 900}, "locale": "ar"},
}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as found:
        yield found


@pytest.fixture
async def seeded(start_gateway: Start, database_url: str) -> Gateway:
    await seed(database_url)
    return await start_gateway(**CLOSED | UNLIMITED)


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
        assert await tab.faults() == []
        await sign_in(tab)
        for path in PATHS:
            await tab.go(path)
            await tab.look(f"{name}{path.partition('?')[0].replace('/', '-')}{'-30d' if '30d' in path else ''}")
            assert await tab.faults() == [], path
            wide = await tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is wider than the window"
            direction = await tab.page.evaluate("getComputedStyle(document.body).direction")
            assert direction == ("rtl" if name.endswith("arabic") else "ltr")
