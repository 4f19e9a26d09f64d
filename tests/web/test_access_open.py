"""Open mode: nobody shows a token, and still not everybody gets in."""

from typing import Any, Final

import pytest

from tests.running import Gateway, Start
from tests.web.callers import Headers
from tests.web.shapes import check_problem
from tests.web.test_access_matrix import BODIES, MATRIX, MODEL, routes

MODES: Final = ("false", "chat", "true")
OTHER_SITE: Final = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
VIA_PROXY: Final[dict[str, Headers]] = {
    "forwarded": {"X-Forwarded-For": "203.0.113.9"},
    "forwarded by the standard": {"Forwarded": "for=203.0.113.9"},
    "tunnelled": {"Cf-Connecting-Ip": "203.0.113.9"},
    "foreign host": {"Host": "evil.example"},
    "foreign host that looks near": {"Host": "localhost.evil.example"},
    "this machine's address in the network": {"Host": "192.168.1.7:8000"},
}
ON_A_PAGE: Final[dict[str, Headers]] = {
    "other site": OTHER_SITE,
    "same site, other origin": {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
    "old browser": {"Origin": "https://evil.example"},
    "page without an origin": {"Origin": "null"},
}
HARMLESS: Final[dict[str, Headers]] = {
    "plain": {},
    "any token": {"Authorization": "Bearer whatever"},
    "own page": {"Sec-Fetch-Site": "same-origin"},
    "by the name of this machine": {"Host": "localhost"},
    "by its other address": {"Host": "[::1]:9"},
}


# What is asked for was asked by nobody in particular, and so is the one who asks now; `chat` keeps the log closed.
SAME_FOR_ALL: Final = {
    ("POST", "/chat"): 200,
    ("POST", "/chat/stream"): 200,
    ("DELETE", "/chat/stream"): 404,
    ("GET", "/chat/stream/{turn_id}"): 200,
    ("DELETE", "/chat/stream/{turn_id}"): 409,
    ("POST", "/v1/chat/completions"): 200,
    ("GET", "/v1/chat/completions/{completion_id}"): 200,
    ("GET", "/v1/models"): 200,
    ("GET", "/v1/models/{model}"): 200,
    ("GET", "/auth/me"): 403,
    ("DELETE", "/auth/me"): 403,
    ("POST", "/auth/google/mobile"): 422,
    ("POST", "/auth/apple/mobile"): 422,
    # There is no token to sign in with, and no session to end.
    ("POST", "/dashboard/login"): 401,
    ("POST", "/dashboard/logout"): 403,
}
THE_LOG: Final = {
    ("GET", "/stats"): 200,
    ("GET", "/metrics"): 200,
    ("GET", "/conversations"): 200,
    ("GET", "/conversations/export"): 200,
    ("GET", "/conversations/{conversation_id}"): 200,
    ("DELETE", "/conversations/{conversation_id}"): 204,
    ("GET", "/dashboard"): 200,
    ("GET", "/dashboard/conversations"): 200,
    ("GET", "/dashboard/conversations/{conversation_id}"): 200,
    ("GET", "/dashboard/errors"): 200,
    ("GET", "/dashboard/callers"): 200,
    ("GET", "/playground"): 200,
}


DELETES: Final = ("DELETE", "/conversations/{conversation_id}")


def expected(route: tuple[str, str], mode: str) -> int:
    route = ("GET", route[1]) if route[0] == "HEAD" else route
    if route == ("GET", "/dashboard/login"):
        return 200 if mode == "chat" else 303
    if route in THE_LOG:
        return 403 if mode == "chat" else THE_LOG[route]
    return SAME_FOR_ALL[route] if route in SAME_FOR_ALL else MATRIX[route]["nobody"]


async def asked(gateway: Gateway) -> str:
    """The id of a turn that has ended, in the one conversation that there is."""
    turn_id: str = (await gateway.ask({"message": "سلام", "conversation_id": "conv-open"}))["turn_id"]
    return turn_id


async def status(gateway: Gateway, route: tuple[str, str], headers: Headers, turn_id: str = "") -> int:
    method, path = route
    place = path.replace("{turn_id}", turn_id).replace("{conversation_id}", "conv-open")
    place = place.replace("{completion_id}", f"chatcmpl-{turn_id}").replace("{model}", MODEL)
    headers = headers | ({"Idempotency-Key": "unknown"} if route == ("DELETE", "/chat/stream") else {})
    body: dict[str, Any] = {"json": BODIES[path]("conv-open")} if method == "POST" and path in BODIES else {}
    answer = await gateway.client.request(method, place, headers=headers, **body)
    if answer.status_code >= 400 and method != "HEAD":
        own_shape = not path.startswith("/v1/")
        assert answer.headers["Content-Type"] == ("application/problem+json" if own_shape else "application/json")
    return answer.status_code


async def statuses(gateway: Gateway, route: tuple[str, str], ways: dict[str, Headers]) -> dict[str, int]:
    """What each of these ways to ask is answered with; none finds that another has deleted what it asks for."""
    found = {}
    turn_id = await asked(gateway) if "{" in route[1] else ""
    for number, (name, headers) in enumerate(ways.items()):
        if number and route == DELETES:
            await asked(gateway)
        found[name] = await status(gateway, route, headers, turn_id)
    return found


@pytest.mark.parametrize("mode", MODES)
async def test_every_route(start_gateway: Start, mode: str, subtests: pytest.Subtests) -> None:
    gateway = await start_gateway(ALLOW_ANONYMOUS=mode, AUTH_RATE_LIMIT="none")
    for route in routes():
        with subtests.test(route=route):
            assert await statuses(gateway, route, HARMLESS) == dict.fromkeys(HARMLESS, expected(route, mode))


async def test_what_came_through_a_proxy(start_gateway: Start, subtests: pytest.Subtests) -> None:
    """On loopback nothing at all is served to it."""
    gateway = await start_gateway(ALLOW_ANONYMOUS="false", AUTH_RATE_LIMIT="none")
    for route in (*routes(), ("GET", "/no/such/place"), ("OPTIONS", "/chat")):
        with subtests.test(route=route):
            assert await statuses(gateway, route, VIA_PROXY) == dict.fromkeys(VIA_PROXY, 403)


@pytest.mark.parametrize("mode", ["chat", "true"])
async def test_what_came_through_a_proxy_where_strangers_may_come(
    start_gateway: Start, mode: str, subtests: pytest.Subtests
) -> None:
    gateway = await start_gateway(ALLOW_ANONYMOUS=mode, AUTH_RATE_LIMIT="none")
    [forwarded, *_] = VIA_PROXY
    for route in MATRIX:
        with subtests.test(route=route):
            assert await statuses(gateway, route, {forwarded: VIA_PROXY[forwarded]}) == {forwarded: expected(route, mode)}


@pytest.mark.parametrize("mode", MODES)
async def test_pages_of_other_sites_change_nothing_and_spend_nothing(
    start_gateway: Start, mode: str, subtests: pytest.Subtests
) -> None:
    """A browser lets any page send a simple request here; a reply it cannot read would be paid for all the same."""
    gateway = await start_gateway(ALLOW_ANONYMOUS=mode, AUTH_RATE_LIMIT="none")
    for route in routes():
        needs_caller = route[0] in ("POST", "DELETE") and not route[1].endswith("/mobile")
        with subtests.test(route=route):
            wanted = 403 if needs_caller else expected(route, mode)
            assert await statuses(gateway, route, ON_A_PAGE) == dict.fromkeys(ON_A_PAGE, wanted)
    before = len(gateway.simulator.calls)
    answer = await gateway.client.post("/chat", content=b'{"message":"a"}', headers=OTHER_SITE)
    check_problem(answer, "forbidden")
    assert len(gateway.simulator.calls) == before


async def test_pages_that_are_named_may_call(start_gateway: Start) -> None:
    gateway = await start_gateway(CORS_ORIGINS="https://evil.example")
    assert await status(gateway, ("POST", "/chat"), OTHER_SITE) == 200
    assert await status(gateway, ("POST", "/chat"), OTHER_SITE | {"Origin": "https://other.example"}) == 403


async def test_a_forged_host_is_refused_before_the_body_is_read(gateway: Gateway) -> None:
    answer = await gateway.client.post("/chat", content=b"{", headers={"Host": "rebound.example"})
    check_problem(answer, "forbidden")
