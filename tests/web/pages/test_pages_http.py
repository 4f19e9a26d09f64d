"""The pages as HTTP: who gets them, sessions and their forms, languages, assets, what is escaped, and days without a log."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.sessions import Sessions
from gateway.core.jsontext import loads
from gateway.web.gate import SESSION_COOKIE
from gateway.web.pages.assets import assets
from simulator import Simulator
from tests.running import Gateway, Start, run_gateway
from tests.web.callers import ADMIN, CLOSED, UNLIMITED, bearer, session_cookie
from tests.web.pages.seeding import TALK, seed

PAGES = ("/dashboard", "/dashboard/conversations", "/dashboard/errors", "/dashboard/callers", "/playground")
BROWSER = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
ROOT = Path(__file__).resolve().parents[3] / "gateway" / "web" / "pages"


@pytest.fixture
async def gateway(start_gateway: Start) -> Gateway:
    return await start_gateway(**CLOSED | UNLIMITED)


async def sign_in(gateway: Gateway, token: str = ADMIN, **fields: str) -> httpx.Response:
    return await gateway.client.post("/dashboard/login", data={"token": token, **fields}, headers=BROWSER)


async def test_a_browser_is_shown_the_way_in_and_back(gateway: Gateway) -> None:
    away = await gateway.client.get("/dashboard/errors?code=provider_error", headers=BROWSER)
    assert away.status_code == 303
    form = await gateway.client.get(away.headers["Location"], headers=BROWSER)
    aim = re.search(r'name="next" value="([^"]+)"', form.text)
    assert aim is not None
    assert (await sign_in(gateway, next=aim[1])).headers["Location"] == "/dashboard/errors?code=provider_error"


async def test_a_session_from_login_to_logout(gateway: Gateway) -> None:
    begun = await sign_in(gateway)
    cookie = begun.headers["Set-Cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    # The client keeps the cookie from here on.
    page = await gateway.client.get("/dashboard", headers=BROWSER)
    assert page.status_code == 200
    token = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert token is not None
    forged = await gateway.client.post("/dashboard/logout", data={"form_token": "0" * 64}, headers=BROWSER)
    assert forged.status_code == 403
    ended = await gateway.client.post("/dashboard/logout", data={"form_token": token[1]}, headers=BROWSER)
    assert (ended.status_code, ended.headers["Location"]) == (303, "/dashboard/login")
    again = await gateway.client.get("/dashboard", headers=BROWSER | {"Cookie": cookie.partition(";")[0]})
    assert again.status_code == 303, "a session that was ended is no session"


async def test_the_cookie_is_secure_behind_https(gateway: Gateway) -> None:
    headers = BROWSER | {"X-Forwarded-Proto": "https"}
    answer = await gateway.client.post("/dashboard/login", data={"token": ADMIN}, headers=headers)
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "aim", ["//evil.example", "https://evil.example/dashboard", "/dashboard\\@evil", "/dashboardevil", "/docs"]
)
async def test_a_login_leads_nowhere_else(gateway: Gateway, aim: str) -> None:
    assert (await sign_in(gateway, next=aim)).headers["Location"] == "/dashboard"


async def test_a_wrong_token_gets_the_form_again(gateway: Gateway) -> None:
    for token in ("wrong", "", CLOSED["API_KEYS"].partition(":")[2], "ا" * 50):
        refused = await sign_in(gateway, token)
        assert refused.status_code == 401
        assert 'role="alert"' in refused.text
        assert "Set-Cookie" not in refused.headers
    refused = await sign_in(gateway, "wrong", next="/dashboard/errors")
    assert 'name="next" value="/dashboard/errors"' in refused.text


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "status"),
    [
        ("; charset=nonsense", "identity", b"token=a", 401),
        ("", "identity", b"token=\xff%fe&next", 401),
        ("", "gzip", b"token=a", 400),
        ("", "identity", b"&" * 30_000, 413),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_form_that_is_none(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, kind: str, encoding: str, body: bytes, status: int, whole: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    headers = BROWSER | {"Content-Type": f"application/x-www-form-urlencoded{kind}", "Content-Encoding": encoding}
    refused = await gateway.client.post("/dashboard/login", content=body if whole else pieces(), headers=headers)
    assert refused.status_code == status
    assert 'role="alert"' in refused.text
    assert not [record for record in caplog.records if record.exc_info]


async def test_another_site_signs_nobody_in(gateway: Gateway) -> None:
    headers = {"Accept": "text/html", "Origin": "https://evil.example"}
    refused = await gateway.client.post("/dashboard/login", data={"token": ADMIN}, headers=headers)
    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers


async def test_guessing_is_slowed_down(start_gateway: Start) -> None:
    gateway = await start_gateway(**CLOSED | {"AUTH_RATE_LIMIT": "2/hour"})
    statuses = [(await sign_in(gateway, "guess")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    over = await sign_in(gateway)
    assert over.status_code == 429
    assert int(over.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in over.headers


async def test_open_mode_needs_no_login(start_gateway: Start) -> None:
    gateway = await start_gateway()
    for path in PAGES:
        answer = await gateway.client.get(path, headers=BROWSER)
        assert (answer.status_code, "/dashboard/logout" in answer.text) == (200, False)
    assert (await gateway.client.get("/dashboard/login", headers=BROWSER)).headers["Location"] == "/dashboard"


async def test_chat_alone_opened_shows_no_log(start_gateway: Start) -> None:
    gateway = await start_gateway(ALLOW_ANONYMOUS="chat")
    for path in PAGES:
        assert (await gateway.client.get(path, headers=BROWSER)).status_code == 403


async def test_pages_run_nothing_inline_and_need_nobody_else(gateway: Gateway, database_url: str) -> None:
    await seed(database_url, 20)
    for path in (*PAGES, f"/dashboard/conversations/{TALK}", "/dashboard/login"):
        answer = await gateway.client.get(path, headers=BROWSER | ({} if "login" in path else session_cookie()))
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script(?![^>]* src=\"/dashboard/assets/)", answer.text)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)
        assert re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(?!/dashboard/assets/)', answer.text) == []


async def test_what_models_and_users_say_is_only_text(gateway: Gateway, database_url: str) -> None:
    await seed(database_url, 0)
    page = await gateway.client.get(f"/dashboard/conversations/{TALK}", headers=bearer(ADMIN))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "The server had an error &lt;while&gt; processing" in page.text
    assert 'href="https://example.org/lisan"' in page.text


async def test_assets_may_be_kept_for_ever(gateway: Gateway) -> None:
    page = await gateway.client.get("/dashboard/login", headers=BROWSER)
    found = re.findall(r'"(/dashboard/assets/[^"]+)"', page.text)
    assert found
    for name in assets().files:
        answer = await gateway.client.get(assets().address(name))
        assert "immutable" in answer.headers["Cache-Control"]
        for other in re.findall(r'from "\./([^"]+)"', answer.text):
            assert other in assets().files
    assert (await gateway.client.get("/dashboard/assets/0000000000000000/base.css")).status_code == 404
    assert (await gateway.client.get(assets().address("base.css").replace("base.css", "..%2Frender.py"))).status_code == 404


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {}, "en"),
        ("", {"Accept-Language": "ar-SA,ar;q=0.9,en;q=0.5"}, "ar"),
        ("", {"Accept-Language": "fr, en;q=0.4, ar;q=0.7"}, "ar"),
        ("", {"Accept-Language": "ar;q=0, ;q=x, *"}, "en"),
        ("?lang=ar", {"Accept-Language": "en"}, "ar"),
        ("?lang=xx", {"Accept-Language": "ar"}, "ar"),
        ("", {"Accept-Language": "en", "Cookie": "gateway_lang=ar"}, "ar"),
    ],
)
async def test_the_language_asked_for(gateway: Gateway, query: str, headers: dict[str, str], code: str) -> None:
    page = await gateway.client.get(f"/dashboard/login{query}", headers=headers)
    assert f'<html lang="{code}" dir="{"rtl" if code == "ar" else "ltr"}">' in page.text
    assert ("gateway_lang=ar" in page.headers.get("Set-Cookie", "")) == (query == "?lang=ar")


def test_every_word_of_the_templates_has_an_arabic_one() -> None:
    arabic: dict[str, Any] = loads((ROOT / "arabic.json").read_bytes())
    texts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "templates").glob("*.html"))
    said = set(re.findall(r"""\bt\((?:"([^"]+)"|'([^']+)')""", texts))
    missing = {one or other for one, other in said} - arabic.keys()
    assert missing == set()
    assert all(re.search("[\u0600-\u06ff]", words) for name, words in arabic.items() if name != "JSON")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=nonsense", "status=lost", "since=yesterday"])
async def test_filters_that_make_no_sense_say_so(gateway: Gateway, query: str) -> None:
    asked = f"/dashboard/conversations?{query}"
    assert (await gateway.client.get(asked, headers=bearer(ADMIN))).status_code == 422
    page = await gateway.client.get(asked, headers=bearer(ADMIN) | BROWSER)
    assert (page.status_code, 'role="alert"' in page.text) == (422, True)


async def test_pages_of_what_there_is_not(gateway: Gateway) -> None:
    page = await gateway.client.get("/dashboard/conversations/none", headers=bearer(ADMIN) | BROWSER)
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    for before in ("x", "9" * 19, "-1"):
        assert (await gateway.client.get(f"/dashboard/errors?before={before}", headers=bearer(ADMIN))).status_code == 422


async def test_another_token_ends_every_session(gateway: Gateway) -> None:
    foreign = Sessions("some-other-token").create()
    answer = await gateway.client.get("/dashboard", headers=BROWSER | {"Cookie": f"{SESSION_COOKIE}={foreign}"})
    assert answer.status_code == 303


async def test_while_the_database_is_away(simulator: Simulator, tmp_path: Path) -> None:
    """What the process knows by itself is shown all the same; what only the log knows says that it cannot be read."""
    gateway = await run_gateway(simulator, "postgresql://postgres@127.0.0.1:1/nothing", tmp_path, {"STORE_WAIT_S": "0.05"})
    try:
        await gateway.ask({"message": "سلام"})
        page = await gateway.client.get("/dashboard", headers=BROWSER)
        assert page.status_code == 200
        assert 'role="alert"' in page.text
        assert re.search(r"Turns waiting on disk</dt><dd>1<", page.text)
        assert 'data-provider="openai"' in page.text
        for path in PAGES[1:4]:
            assert (await gateway.client.get(path, headers=BROWSER)).status_code == 503
            assert (await gateway.client.get(path)).headers["Content-Type"] == "application/problem+json"
        assert (await gateway.client.get("/playground", headers=BROWSER)).status_code == 200
    finally:
        await gateway.close()
