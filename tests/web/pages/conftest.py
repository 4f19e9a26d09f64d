"""Fixtures of this room: one Chromium for all tests of a module, which therefore share a loop."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.web.pages.browsing import running_browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as found:
        yield found
