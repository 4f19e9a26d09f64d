"""Every route, for everybody who might ask: exactly who gets in."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from gateway.app import build
from gateway.settings import load
from tests.running import Start
from tests.web.callers import (
    ADMIN,
    API_KEY,
    CLOSED,
    Headers,
    World,
    basic,
    bearer,
    closed,
    session_cookie,
    unsigned_token,
    user_token,
)

STRANGERS: Final = ("nobody", "wrong token", "expired token", "alg none", "wrong secret", "wrong password", "key as password")
COOKIES: Final = ("cookie", "cookie, own page", "cookie, other site")
ADMINS: Final = ("admin", "admin's password")
CALLERS: Final = (*STRANGERS, "other user", "own", "api key", *ADMINS, *COOKIES, "cookie and wrong token")

MODEL: Final = "gpt-6-luna"
BODIES: Final[dict[str, Callable[[str], dict[str, object]]]] = {
    "/chat": lambda conversation: {"message": "وبعد؟", "conversation_id": conversation},
    "/chat/stream": lambda conversation: {"message": "وبعد؟", "conversation_id": conversation},
    "/v1/chat/completions": lambda conversation: {
        "model": MODEL,
        "messages": [{"role": "user", "content": "وبعد؟"}],
        "metadata": {"conversation_id": conversation},
    },
}
"""What is sent to add to a conversation."""
KEY: Final = {"Idempotency-Key": "q-1"}

Row = dict[str, int]


def row(stranger: int, user: tuple[int, int], key: int, admin: int, cookie: tuple[int, int, int]) -> Row:
    """`user`: another one, the owner. `cookie`: without a word about the page, from our own page, from another site's."""
    row = dict.fromkeys(STRANGERS, stranger)
    row |= {"other user": user[0], "own": user[1], "api key": key}
    row |= dict.fromkeys(ADMINS, admin) | dict(zip(COOKIES, cookie, strict=True))
    return row | {"cookie and wrong token": stranger}


def everybody(status: int) -> Row:
    return row(status, (status, status), status, status, (status, status, status))


OPEN: Final = everybody(200)
OPERATOR: Final = row(401, (403, 403), 403, 200, (200, 200, 200))
# The conversation, turn and key asked for are those of "own"; nobody else may add to a conversation, not even the operator.
MATRIX: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/"): OPEN,
    ("GET", "/health"): OPEN,
    ("GET", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/stats"): OPERATOR,
    ("GET", "/metrics"): OPERATOR,
    ("POST", "/chat"): row(401, (404, 200), 404, 404, (403, 404, 403)),
    ("POST", "/chat/stream"): row(401, (404, 200), 404, 404, (403, 404, 403)),
    ("DELETE", "/chat/stream"): row(401, (404, 409), 404, 404, (403, 404, 403)),
    ("GET", "/chat/stream/{turn_id}"): row(401, (404, 200), 404, 200, (200, 200, 200)),
    ("DELETE", "/chat/stream/{turn_id}"): row(401, (404, 409), 404, 409, (403, 409, 403)),
    ("POST", "/v1/chat/completions"): row(401, (404, 200), 404, 404, (403, 404, 403)),
    ("GET", "/v1/chat/completions/{completion_id}"): row(401, (404, 200), 404, 200, (200, 200, 200)),
    ("GET", "/v1/models"): row(401, (200, 200), 200, 200, (200, 200, 200)),
    ("GET", "/v1/models/{model}"): row(401, (200, 200), 200, 200, (200, 200, 200)),
    ("GET", "/conversations"): row(401, (200, 200), 200, 200, (200, 200, 200)),
    ("GET", "/conversations/export"): row(401, (200, 200), 200, 200, (200, 200, 200)),
    ("GET", "/conversations/{conversation_id}"): row(401, (404, 200), 404, 200, (200, 200, 200)),
    ("DELETE", "/conversations/{conversation_id}"): row(401, (404, 204), 404, 204, (403, 204, 403)),
    # Signing in asks for no caller, but for an identity token, which is missing here.
    ("POST", "/auth/google/mobile"): everybody(422),
    ("POST", "/auth/apple/mobile"): everybody(422),
    ("GET", "/auth/me"): row(401, (200, 200), 403, 403, (403, 403, 403)),
    ("GET", "/dashboard"): OPERATOR,
    ("GET", "/dashboard/conversations"): OPERATOR,
    ("GET", "/dashboard/conversations/{conversation_id}"): OPERATOR,
    ("GET", "/dashboard/errors"): OPERATOR,
    ("GET", "/dashboard/callers"): OPERATOR,
    ("GET", "/playground"): OPERATOR,
    # Whoever needs no login is sent on; nobody sends a token here, and the session's form is missing.
    ("GET", "/dashboard/login"): row(200, (200, 200), 200, 303, (303, 303, 303)),
    ("POST", "/dashboard/login"): row(401, (401, 401), 401, 401, (401, 401, 403)),
    ("POST", "/dashboard/logout"): row(401, (403, 403), 403, 403, (403, 403, 403)),
    ("GET", "/dashboard/assets/{digest}/{name}"): everybody(404),
    ("DELETE", "/auth/me"): row(401, (204, 204), 403, 403, (403, 403, 403)),
}


def routes() -> Iterator[tuple[str, str]]:
    """Method and path of every route of the application."""
    app = build(load({}, env_file=None), "postgresql://nowhere/")
    for route in app.router.routes():
        assert route.resource is not None
        yield route.method, route.resource.canonical


def expected(method: str, path: str) -> Row:
    return MATRIX["GET" if method == "HEAD" else method, path]


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody with a conversation, and in it a turn that has ended."""

    id: int
    headers: Headers
    conversation: str
    turn_id: str


async def owner(world: World) -> Owner:
    user = await world.user()
    headers, conversation = bearer(user_token(user)), f"conv-{user}"
    told = await world.ask(headers | KEY, conversation_id=conversation)
    return Owner(user, headers, conversation, told["turn_id"])


def headers_of(caller: str, own: Owner, other: Headers) -> Headers:
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    at_home = {"Sec-Fetch-Site": "same-origin"}
    made: dict[str, Callable[[], Headers]] = {
        "nobody": dict,
        "wrong token": lambda: bearer("no-such-token"),
        "expired token": lambda: bearer(user_token(own.id, lifetime_s=60, clock=lambda: 1_700_000_000.0)),
        "alg none": lambda: bearer(unsigned_token(own.id)),
        "wrong secret": lambda: bearer(user_token(own.id, secret="another secret, which is just as long as ours")),
        "wrong password": lambda: basic("guess"),
        "key as password": lambda: basic(API_KEY),
        "other user": lambda: other,
        "own": lambda: own.headers,
        "api key": lambda: bearer(API_KEY),
        "admin": lambda: bearer(ADMIN),
        "admin's password": lambda: basic(ADMIN),
        "cookie": session_cookie,
        "cookie, own page": lambda: session_cookie() | at_home,
        "cookie, other site": lambda: session_cookie() | elsewhere,
        "cookie and wrong token": lambda: session_cookie() | bearer("no-such-token") | at_home,
    }
    return made[caller]()


async def status(world: World, route: tuple[str, str], caller: str, own: Owner, other: Headers) -> int:
    """What `caller` is answered with who asks for what `own` has."""
    method, path = route
    place = path.replace("{turn_id}", own.turn_id).replace("{conversation_id}", own.conversation)
    place = place.replace("{completion_id}", f"chatcmpl-{own.turn_id}").replace("{model}", MODEL)
    headers = headers_of(caller, own, other)
    body = {"json": BODIES[path](own.conversation)} if path in BODIES else {}
    if route == ("DELETE", "/chat/stream"):
        headers, body = headers | KEY, {}
    answer = await world.send(method, place, headers, **body)
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    if answer.status_code >= 400 and method != "HEAD":
        own_shape = not path.startswith("/v1/")
        assert answer.headers["Content-Type"] == ("application/problem+json" if own_shape else "application/json")
    return answer.status_code


def test_no_route_is_missing() -> None:
    known = {(method, path) for method, path in routes() if method != "HEAD"}
    assert known == MATRIX.keys(), "say in MATRIX who may use a new route"
    assert all(tuple(sorted(row)) == tuple(sorted(CALLERS)) for row in MATRIX.values())


async def test_every_route_for_everybody(start_gateway: Start, subtests: pytest.Subtests) -> None:
    world = await closed(start_gateway)
    own, other = await owner(world), await world.signed_in()
    for route in routes():
        with subtests.test(route=route):
            found = {}
            for caller in CALLERS:
                if route[0] == "DELETE":
                    own, other = await owner(world), await world.signed_in()
                found[caller] = await status(world, route, caller, own, other)
            assert found == expected(*route)


async def test_tokens_alone_are_enough_to_close_the_server(start_gateway: Start, subtests: pytest.Subtests) -> None:
    """Whichever kind of token is configured, nobody gets in without one."""
    for name, value in CLOSED.items():
        world = World(await start_gateway(**{name: value}))
        for method, path in routes():
            with subtests.test(setting=name, method=method, path=path):
                answer = await world.send(method, re.sub(r"{\w+}", "x", path))
                assert answer.status_code == expected(method, path)["nobody"]
        await world.gateway.close()
