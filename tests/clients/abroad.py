"""A page of another origin in a browser, and the gateway that it may call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from playwright.async_api import Browser, Page

from tests.conftest import TEMPLATE, new_database
from tests.running import Gateway, serving


@dataclass(frozen=True, slots=True)
class Abroad:
    """An empty page, and a gateway with its origin in CORS_ORIGINS."""

    page: Page
    gateway: Gateway


@asynccontextmanager
async def abroad(browser: Browser, postgres_url: str, folder: Path, modules: Path | None = None) -> AsyncIterator[Abroad]:
    """Both, in a database of their own; `modules` is what lies under /client of the page's origin."""
    async with (
        origin(modules) as home,
        new_database(postgres_url, TEMPLATE) as database,
        serving(database, folder, CORS_ORIGINS=home) as gateway,
    ):
        page = await browser.new_page()
        try:
            await page.goto(home)
            yield Abroad(page, gateway)
        finally:
            await page.close()


@asynccontextmanager
async def origin(modules: Path | None) -> AsyncIterator[str]:
    """Where an empty page lies, and no gateway."""
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>معجم</title>", content_type="text/html")

    app.router.add_get("/", answer)
    if modules is not None:
        app.router.add_static("/client", modules)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
