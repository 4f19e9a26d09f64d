"""What browsers heed: CORS for the origins that are named, and headers that keep answers where they belong."""

import json
from typing import Any

import pytest

from gateway.settings import SettingsError, load
from tests.running import Gateway, Start, Told
from tests.web.callers import ADMIN, API_KEY, Headers, basic, bearer, closed, session_cookie
from tests.web.shapes import check_problem
from tests.web.test_access_matrix import routes

APP = "https://app.example.com"
EVIL = "https://evil.example"
GOOD = {"message": "سلام"}
EXPOSED = {"x-turn-id", "x-request-id", "x-should-retry", "retry-after"}
EXPOSED |= {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}
SENT = ["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id", "traceparent"]
SENT += ["x-stainless-retry-count", "x-stainless-lang", "openai-organization"]


def preflight(origin: str = APP, method: str = "POST") -> Headers:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ",".join(SENT),
    }


def listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


@pytest.fixture
async def gateway(start_gateway: Start) -> Gateway:
    return (await closed(start_gateway, CORS_ORIGINS=f"{APP}, http://localhost:3000/")).gateway


async def test_preflights_of_named_origins(gateway: Gateway, subtests: pytest.Subtests) -> None:
    """A preflight carries no token and is answered before anybody asks for one."""
    for method, path in routes():
        for origin in (APP, "http://localhost:3000"):
            with subtests.test(method=method, path=path, origin=origin):
                answer = await gateway.client.options(path, headers=preflight(origin, method))
                assert (answer.status_code, answer.content) == (204, b"")
                assert answer.headers["Access-Control-Allow-Origin"] == origin
                assert method.lower() in listed(answer.headers["Access-Control-Allow-Methods"])
                assert set(SENT) <= listed(answer.headers["Access-Control-Allow-Headers"])
                assert "Origin" in answer.headers["Vary"]
                assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", [EVIL, "null", f"{APP}.evil.example", "http://app.example.com", f"{APP}:8443", ""])
async def test_other_origins_are_told_nothing(gateway: Gateway, origin: str) -> None:
    refused = await gateway.client.options("/chat", headers=preflight(origin))
    check_problem(refused, "method_not_allowed")
    asked = await gateway.client.post("/chat", json=GOOD, headers=bearer(API_KEY) | {"Origin": origin})
    assert asked.status_code == 200
    for answer in (refused, asked):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["Vary"] == "Origin"


def check_readable(answer: Any, origin: str = APP) -> None:
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert listed(answer.headers["Access-Control-Expose-Headers"]) == EXPOSED
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_good_answers_errors_and_streams_can_be_read(gateway: Gateway) -> None:
    headers = bearer(API_KEY) | {"Origin": APP}
    for answer in (
        await gateway.client.post("/chat", json=GOOD, headers=headers),
        await gateway.client.post("/chat", content=b"{", headers=headers),
        await gateway.client.post("/chat", json=GOOD, headers={"Origin": APP}),
        await gateway.client.get("/nothing/here", headers=headers),
        await gateway.client.put("/chat", headers=headers),
        await gateway.client.get("/openapi.json", headers=headers),
        await gateway.client.get("/conversations/unknown", headers=headers),
    ):
        check_readable(answer)
    async with gateway.streaming(GOOD, **headers) as source:
        check_readable(source.response)
        assert Told([event async for event in source.aiter_sse() if event.data]).names[-1] == "done"


async def test_any_origin_but_never_its_cookies(start_gateway: Start) -> None:
    gateway = (await closed(start_gateway, CORS_ORIGINS="*")).gateway
    answer = await gateway.client.options("/chat", headers=preflight(EVIL))
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
    asked = await gateway.client.post("/chat", json=GOOD, headers=bearer(API_KEY) | {"Origin": EVIL})
    check_readable(asked, "*")
    # What a browser adds by itself is no word of the page's.
    page = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
    for ambient in (session_cookie(), basic(ADMIN)):
        check_problem(await gateway.client.post("/chat", content=json.dumps(GOOD), headers=ambient | page), "forbidden")
        check_problem(await gateway.client.delete("/conversations/conv-1", headers=ambient | page), "forbidden")


async def test_without_origins_nothing_is_said(start_gateway: Start) -> None:
    gateway = (await closed(start_gateway)).gateway
    check_problem(await gateway.client.options("/chat", headers=preflight()), "method_not_allowed")
    answer = await gateway.client.post("/chat", json=GOOD, headers=bearer(API_KEY) | {"Origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control-") or name == "vary"]


@pytest.mark.parametrize(
    "value", ["app.example.com", "https://app.example.com/path", "https://*.example.com", "null", "https://a b"]
)
def test_what_is_no_origin_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS: takes web origins"):
        load({"CORS_ORIGINS": value}, env_file=None)


def test_origins_are_spelled_as_browsers_do() -> None:
    given = "HTTPS://App.Example.com/, https://a.example:443, http://a.example:80, http://[::1]:3000, capacitor://localhost, *"
    assert load({"CORS_ORIGINS": given}, env_file=None).cors_origins == (
        "https://app.example.com",
        "https://a.example",
        "http://a.example",
        "http://[::1]:3000",
        "capacitor://localhost",
        "*",
    )


def check_dressed(headers: Any, referrer: str = "no-referrer") -> None:
    assert headers["Server"] == "m3ajem-gateway"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == referrer
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert len(headers["X-Request-Id"]) >= 32


async def test_every_answer_is_dressed(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for method, path in (*routes(), ("GET", "/nothing/here"), ("TRACE", "/")):
        for headers in ({}, bearer(ADMIN)):
            with subtests.test(method=method, path=path):
                answer = await gateway.client.request(method, path, headers=headers)
                # A form of our own pages has to say where it comes from.
                ours = path.startswith(("/dashboard", "/playground"))
                check_dressed(answer.headers, answer.headers["Referrer-Policy"] if ours else "no-referrer")
                assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
                if not path.startswith(("/docs", "/openapi")):
                    assert "no-store" in answer.headers["Cache-Control"]
    async with gateway.streaming(GOOD, **bearer(API_KEY)) as source:
        check_dressed(source.response.headers)
        assert source.response.headers["Cache-Control"] == "no-store, no-transform"


async def test_pages_are_dressed_more_warmly(gateway: Gateway) -> None:
    page = await gateway.client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy


async def test_a_browser_is_asked_for_the_password_and_a_program_for_a_token(gateway: Gateway) -> None:
    opened = await gateway.client.get("/stats", headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"})
    assert (opened.status_code, opened.headers["WWW-Authenticate"]) == (401, 'Basic realm="gateway", charset="UTF-8"')
    fetched = await gateway.client.get("/stats", headers={"Sec-Fetch-Mode": "cors", "Origin": APP})
    assert (fetched.status_code, fetched.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await gateway.client.get("/stats", headers=basic(ADMIN))).status_code == 200
