"""The playground in a browser: a reply streamed, stopped, cut and resumed; a tool answered by hand; the line for a shell."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Request, expect

from tests.browsing import IN_BROWSER_LOOP, NEEDS_CHROMIUM, Tab, open_tab
from tests.conftest import TEMPLATE, new_database
from tests.running import Gateway, serving

pytestmark = [NEEDS_CHROMIUM, IN_BROWSER_LOOP]
SLOW = "[[sim: tokens=150 gap_ms=20]] أطل الحديث"


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(postgres_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with new_database(postgres_url, TEMPLATE) as url, serving(url, tmp_path) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def tab(gateway: Gateway, browser: Browser) -> AsyncIterator[Tab]:
    """The playground of a server in open mode, where nobody needs to sign in."""
    async with open_tab(browser, gateway.url, viewport={"width": 1280, "height": 900}) as found:
        await found.go("/playground")
        yield found


async def ask(tab: Tab, text: str) -> None:
    await tab.page.fill("#message", text)
    await tab.page.keyboard.press("Control+Enter")


async def ended(tab: Tab) -> None:
    await expect(tab.page.locator("#send")).to_be_enabled(timeout=60_000)


async def replies(tab: Tab) -> list[str]:
    """The texts of the replies that stand there."""
    return await tab.page.locator(".replied > .text").all_inner_texts()


async def stored(gateway: Gateway) -> list[dict[str, object]]:
    return await gateway.rows("SELECT content, status, provider FROM messages WHERE role = 'assistant' ORDER BY id")


async def test_a_reply_is_streamed_and_logged(gateway: Gateway, tab: Tab) -> None:
    await tab.page.select_option("#model", label="anthropic · claude-haiku-5-5")
    await ask(tab, "ما معنى كلمة «قلم»؟")
    await ended(tab)
    [row] = await stored(gateway)
    assert (row["status"], row["provider"]) == ("completed", "anthropic")
    assert await replies(tab) == [row["content"]]
    assert await tab.faults() == []
    await tab.look("playground-reply")
    await tab.page.click("#conversation")
    await expect(tab.page.locator(".message.replied .text").first).to_have_text(str(row["content"]))


async def test_a_reply_is_stopped(gateway: Gateway, tab: Tab) -> None:
    await ask(tab, SLOW)
    await expect(tab.page.locator(".replied > .text")).to_be_visible()
    await tab.page.click("#stop")
    await ended(tab)
    [row] = await stored(gateway)
    assert row["status"] == "stopped"
    assert await replies(tab) == [row["content"]]
    await expect(tab.page.locator("#state")).to_contain_text("stopped")


async def test_a_dropped_connection_is_resumed_without_a_gap(gateway: Gateway, tab: Tab) -> None:
    asked: list[Request] = []
    tab.page.on("request", lambda request: asked.append(request))
    await ask(tab, SLOW)
    await expect(tab.page.locator(".replied > .text")).to_be_visible()
    await tab.page.click("#drop")
    await expect(tab.page.locator(".note.cut")).to_be_visible()
    await ended(tab)
    await expect(tab.page.locator(".note.resumed")).to_be_visible()
    await tab.look("playground-resumed")
    [row] = await stored(gateway)
    assert row["status"] == "completed"
    assert await replies(tab) == [row["content"]]
    first, second = [request for request in asked if "/chat/" in request.url]
    assert (first.method, second.method) == ("POST", "GET")
    assert second.headers["last-event-id"].startswith(second.url.rpartition("/")[2])
    await tab.page.click("text=Events as they came")
    ids = re.findall(r"^id: (\S+)$", await tab.page.inner_text("#events"), re.MULTILINE)
    assert len(set(ids)) == len(ids)


async def test_a_tool_is_answered_by_hand(gateway: Gateway, tab: Tab) -> None:
    await tab.page.click("#tools-box summary")
    await tab.page.click("#sample-tool")
    await ask(tab, "ما معنى كلمة «كتاب»؟")
    field = tab.page.locator("textarea[data-call]")
    await expect(field).to_be_focused()
    assert "كتاب" in await tab.page.locator(".call pre").inner_text()
    await tab.look("playground-tool")
    assert await tab.faults() == []
    await field.fill("كتاب: ما كُتب فيه")
    await tab.page.click(".results button")
    await expect(tab.page.locator(".replied > .text")).to_contain_text("كتاب: ما كُتب فيه")
    await ended(tab)
    assert [row["status"] for row in await stored(gateway)] == ["completed", "completed"]
    [call] = await gateway.rows("SELECT result FROM tool_calls")
    assert json.loads(call["result"]) == "كتاب: ما كُتب فيه"


async def test_tools_that_are_no_json_are_not_sent(gateway: Gateway, tab: Tab) -> None:
    await tab.page.click("#tools-box summary")
    await tab.page.fill("#tools", "[{")
    await ask(tab, "سلام")
    await expect(tab.page.locator("#tools-problem")).to_have_text("This is no JSON array")
    await expect(tab.page.locator("#tools")).to_be_focused()
    assert await stored(gateway) == []


async def test_a_failure_is_shown_as_the_client_gets_it(gateway: Gateway, tab: Tab) -> None:
    await ask(tab, "[[sim: status=400]] سلام")
    await expect(tab.page.locator(".replied .problem")).to_contain_text("provider_rejected")
    await ended(tab)
    # The browser itself notes that the answer was no good one.
    assert all("400" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


async def test_the_line_for_a_shell_does_the_same(gateway: Gateway, tab: Tab) -> None:
    await ask(tab, "It's «قلم»؟ $HOME `id`")
    await ended(tab)
    await tab.page.click("text=What was sent, for a shell")
    line = await tab.page.inner_text("#curl")
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", line, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"], "ADMIN_TOKEN": "none"}
    )
    said, _ = await process.communicate()
    # The key is the same, so it is the same turn, and no second one was begun.
    assert (await replies(tab))[0] in json.loads(re.findall(r"^data: (.*)$", said.decode(), re.MULTILINE)[-1])["content"]
    assert len(await stored(gateway)) == 1
