"""A headless Chromium for all tests of a process, whose tabs note whatever they should not have done."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Request

# The first is Chromium without the windows that nobody sees here: every page takes it half as long.
_NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM: Final = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
SCREENSHOTS: Final = os.environ.get("SCREENSHOTS")
"""A folder for screenshots, for people to look at; none are made without it."""
NEEDS_CHROMIUM: Final = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium-headless-shell, or CHROMIUM=/path"
)
IN_BROWSER_LOOP: Final = pytest.mark.asyncio(loop_scope="session")
"""For tests that use `browser`, whose loop must be theirs, and that of their fixtures."""
_SERIOUS: Final = ("serious", "critical")
_CELLS: Final = "(rows) => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))"


@dataclass(slots=True)
class Tab:
    """A page of the browser; `complaints` is what its console said, `elsewhere` the other hosts that it called."""

    page: Page
    home: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Open a page of the gateway."""
        answer = await self.page.goto(self.home + path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)

    async def table(self, chart: str) -> tuple[list[str], list[list[str]]]:
        """The table that stands for a chart: what its columns are, and of each row the values in them."""
        table = self.page.locator(f"table[data-chart={chart}]")
        names = await table.locator("thead th").all_text_contents()
        rows = await table.locator("tbody tr").evaluate_all(_CELLS)
        return names[1:], rows

    async def faults(self) -> list[dict[str, Any]]:
        """What axe-core finds that is serious or worse."""
        # The policy forbids scripts that are not ours, so it is handed over in the browser's own world.
        await self.page.evaluate(_axe() + "\n;0")
        found = await self.page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
        return [
            {"id": one["id"], "nodes": [(node["html"][:300], node["failureSummary"]) for node in one["nodes"]]}
            for one in found
            if one["impact"] in _SERIOUS
        ]

    async def look(self, name: str) -> None:
        """Keep a screenshot where somebody asked for them."""
        if SCREENSHOTS:
            await self.page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)

    def check(self) -> None:
        """Fail if it complained, or called another host."""
        assert self.complaints == []
        assert self.elsewhere == []

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def called(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.home:
            self.elsewhere.append(request.url)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests of a process: it and its driver take longer to start than most of them."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def open_tab(browser: Browser, home: str, **options: Any) -> AsyncIterator[Tab]:
    """A tab of its own context; checked at the end."""
    context = await browser.new_context(**options)
    tab = Tab(await context.new_page(), home)
    tab.page.on("console", lambda message: tab.heard(message))
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("request", lambda request: tab.called(request))
    try:
        yield tab
        tab.check()
    finally:
        await context.close()


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
