"""Signing in as the app does, with an issuer of the tests' own; leaving again, with all that was said."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.web.services import SERVICES
from simulator import parse_text
from tests.access.issuer_server import Issuer
from tests.access.issuing import APPLE_BUNDLE, GOOGLE_CLIENT, apple_claims, claims, public_jwk, signed
from tests.running import Start
from tests.web.callers import ADMIN, SECRET, Headers, World, bearer, closed
from tests.web.shapes import check_problem

GOOGLE, APPLE = "/auth/google/mobile", "/auth/apple/mobile"
STALL = parse_text("fault=stall@mid gap_ms=0")
OTHER_SECRET = "the secret that comes after the first one as secrets do"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    made.keys = [public_jwk("k1")]
    async with made.running():
        yield made


def sign_in_settings(issuer: Issuer) -> dict[str, str]:
    return {
        "GOOGLE_JWKS_URL": issuer.url,
        "APPLE_JWKS_URL": issuer.url.replace("/certs", "/apple"),
        "GOOGLE_CLIENT_ID": f"{GOOGLE_CLIENT},456-web",
        "APPLE_BUNDLE_ID": APPLE_BUNDLE,
        "DAILY_REQUEST_LIMIT": "30",
    }


@pytest.fixture
async def world(start_gateway: Start, issuer: Issuer) -> World:
    return await closed(start_gateway, **sign_in_settings(issuer))


async def sign_in(world: World, path: str = GOOGLE, **parameters: str) -> httpx.Response:
    return await world.gateway.client.post(path, params=parameters)


async def signed_in(world: World, token: str) -> tuple[Headers, dict[str, Any]]:
    """The headers and the account of somebody who signs in with Google."""
    answer = await sign_in(world, id_token=token)
    assert answer.status_code == 200, answer.text
    return bearer(answer.json()["token"]), answer.json()["user"]


async def test_with_google_as_the_app_does(world: World) -> None:
    answer = await sign_in(world, id_token=signed(claims()))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json()
    assert told.keys() == {"token", "user"}
    user = told["user"]
    assert user == {"id": user["id"], "email": "عائشة@example.com", "daily_requests": 0, "daily_limit": 30}
    headers = bearer(told["token"])
    await world.ask(headers)
    me = (await world.send("GET", "/auth/me", headers)).json()
    created = me.pop("created_at")
    assert created.endswith("Z")
    assert me == {**user, "provider": "google", "daily_requests": 1}
    assert (await signed_in(world, signed(claims(aud="456-web"))))[1]["id"] == user["id"]


async def test_with_apple_as_the_app_does(world: World) -> None:
    subject = "001473.2e0ae17d4b.0741"
    answer = await sign_in(world, APPLE, identity_token=signed(apple_claims()), user_id=subject, email="victim@example.com")
    assert answer.status_code == 200
    user = answer.json()["user"]
    assert user["email"] == "x7@privaterelay.appleid.com"
    refused = await sign_in(world, APPLE, identity_token=signed(apple_claims()), user_id="001473.another")
    check_problem(refused, "unauthenticated")
    # After the first time Apple sends no address, and the app an empty one.
    again = await sign_in(
        world, APPLE, identity_token=signed(apple_claims(email=None, email_verified=None)), email="", user_id=""
    )
    assert again.json()["user"] == user
    assert (await world.send("GET", "/auth/me", bearer(answer.json()["token"]))).json()["provider"] == "apple"


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"id_token": "%"}},
        {"json": {"id_token": "%", "more": 1}, "params": {"unused": "x"}},
        {"params": {"id_token": "%"}, "headers": {"Content-Type": "application/json"}},
        {"params": {"id_token": "%"}, "headers": {"Content-Type": "application/x-www-form-urlencoded"}, "content": b""},
        {"params": {"id_token": "%"}, "json": {}},
        {"params": {"id_token": "%"}, "json": {"id_token": "the query wins"}},
        {"params": {"id_token": "%"}, "json": None},
    ],
)
async def test_however_the_token_is_sent(world: World, sent: dict[str, Any]) -> None:
    token = signed(claims())
    filled: dict[str, Any] = {
        part: {name: token if value == "%" else value for name, value in fields.items()} if isinstance(fields, dict) else fields
        for part, fields in sent.items()
    }
    answer = await world.gateway.client.post(GOOGLE, **filled)
    assert answer.status_code == 200, answer.text


async def test_what_is_no_sign_in(world: World) -> None:
    client = world.gateway.client
    check_problem(await client.post(GOOGLE), "invalid_request")
    check_problem(await client.post(GOOGLE, params={"id_token": ""}), "invalid_request")
    check_problem(await client.post(APPLE, params={"id_token": signed(claims())}), "invalid_request")
    check_problem(await client.post(GOOGLE, json={"id_token": 7}), "invalid_request")
    check_problem(await client.post(GOOGLE, content=b"{", headers={"Content-Type": "application/json"}), "invalid_json")
    check_problem(await client.post(GOOGLE, data={"id_token": "x"}), "unsupported_media_type")
    check_problem(await client.get(GOOGLE), "method_not_allowed")
    problem = await client.post(GOOGLE, json={"id_token": ["secret-token"]})
    assert "secret-token" not in problem.text


async def test_one_address_two_people(world: World) -> None:
    """Accounts are never joined by address, whoever says that it is theirs."""
    google = (await sign_in(world, id_token=signed(claims(email="a@example.com")))).json()["user"]
    apple = (await sign_in(world, APPLE, identity_token=signed(apple_claims(email="a@example.com")))).json()["user"]
    other = (await sign_in(world, id_token=signed(claims(sub="2", email="a@example.com")))).json()["user"]
    assert len({google["id"], apple["id"], other["id"]}) == 3


async def test_an_issuer_changes_its_keys(world: World, issuer: Issuer) -> None:
    before = (await signed_in(world, signed(claims())))[1]
    issuer.keys = [public_jwk("k2")]
    check_problem(await sign_in(world, id_token=signed(claims(), "k2")), "unauthenticated")
    assert len(issuer.calls) == 1
    # A while later the unknown key may be asked for again.
    keys = world.gateway._runner.app[SERVICES].accounts.sign_in._verifiers["google"]._keys
    keys._tried = float("-inf")
    assert (await signed_in(world, signed(claims(), "k2")))[1] == before
    check_problem(await sign_in(world, id_token=signed(claims(), "k1")), "unauthenticated")
    assert len(issuer.calls) == 2


async def test_an_issuer_that_is_away_or_silent_never_touches_chat(world: World, issuer: Issuer) -> None:
    headers = await world.signed_in()
    issuer.status = 503
    answer = await sign_in(world, id_token=signed(claims()))
    check_problem(answer, "sign_in_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    issuer.status, issuer.gate = 200, asyncio.Event()
    issuer.called.clear()
    hanging = asyncio.create_task(sign_in(world, APPLE, identity_token=signed(apple_claims())))
    await issuer.called.wait()
    await world.ask(headers)
    assert (await world.send("GET", "/health", {})).json()["status"] == "healthy"
    issuer.gate.set()
    assert (await hanging).status_code == 200
    # Keys that are known serve on without their issuer.
    issuer.status = 503
    assert (await sign_in(world, APPLE, identity_token=signed(apple_claims()))).status_code == 200
    await world.ask(headers)


async def test_signing_in_that_is_not_set_up(start_gateway: Start, issuer: Issuer) -> None:
    without_audience = await closed(start_gateway)
    check_problem(await sign_in(without_audience, id_token=signed(claims())), "provider_not_configured")
    await without_audience.gateway.close()
    settings = sign_in_settings(issuer) | {"ADMIN_TOKEN": ADMIN}
    without_secret = World(await start_gateway(**settings))
    check_problem(await sign_in(without_secret, id_token=signed(claims())), "provider_not_configured")
    assert issuer.calls == []


async def test_a_secret_is_replaced_without_signing_anybody_out(start_gateway: Start, issuer: Issuer) -> None:
    tokens: list[str] = []
    for secrets, expected in (
        (SECRET, [200]),
        (f"{OTHER_SECRET},{SECRET}", [200, 200]),
        (OTHER_SECRET, [401, 200, 200]),
    ):
        world = await closed(start_gateway, **(sign_in_settings(issuer) | {"JWT_SECRET": secrets}))
        tokens.append((await sign_in(world, id_token=signed(claims()))).json()["token"])
        assert [(await world.send("GET", "/auth/me", bearer(token))).status_code for token in tokens] == expected
        await world.gateway.close()


async def test_an_account_that_was_switched_off(world: World) -> None:
    _, user = await signed_in(world, signed(claims()))
    await world.gateway.rows("UPDATE users SET is_active = false WHERE id = $1", user["id"])
    check_problem(await sign_in(world, id_token=signed(claims())), "forbidden")


async def test_leaving_takes_everything_along(world: World) -> None:
    mine, me = await signed_in(world, signed(claims()))
    other, _ = await signed_in(world, signed(claims(sub="2")))
    await world.ask(mine | {"Idempotency-Key": "k-1"}, conversation_id="conv-a")
    await world.ask(other, conversation_id="conv-b")
    world.gateway.simulator.script(STALL)
    body = {"message": "سؤال طويل", "conversation_id": "conv-a"}
    running = asyncio.create_task(world.send("POST", "/chat/stream", mine, json=body))
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 1)
    assert (await world.send("DELETE", "/auth/me", mine)).status_code == 204
    stream = (await running).text
    assert '"status":"stopped"' in stream
    await world.gateway.simulator.until(lambda simulator: simulator.count("aborted") == 1)
    for path in ("/auth/me", "/conversations", "/conversations/conv-a"):
        check_problem(await world.send("GET", path, mine), "unauthenticated")
    check_problem(await world.send("POST", "/chat", mine, json={"message": "سلام"}), "unauthenticated")
    caller = f"user:{me['id']}"
    for table in (
        "conversations WHERE owner",
        "messages WHERE caller",
        "daily_usage WHERE caller",
        "idempotency_keys WHERE caller",
    ):
        assert await world.gateway.rows(f"SELECT 1 FROM {table} = $1", caller) == []
    assert await world.gateway.rows("SELECT 1 FROM users WHERE id = $1", me["id"]) == []
    assert (await world.send("GET", "/conversations/conv-b", other)).status_code == 200
    check_problem(await world.send("GET", "/conversations/conv-a", bearer(ADMIN)), "not_found")
    _, anew = await signed_in(world, signed(claims()))
    assert anew["id"] != me["id"]


async def test_a_conversation_is_deleted_with_the_turn_that_runs_in_it(world: World) -> None:
    mine = await world.signed_in()
    world.gateway.simulator.script(STALL)
    body = {"message": "سؤال", "conversation_id": "conv-a"}
    running = asyncio.create_task(world.send("POST", "/chat/stream", mine, json=body))
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 1)
    assert (await world.send("DELETE", "/conversations/conv-a", mine)).status_code == 204
    assert '"status":"stopped"' in (await running).text
    check_problem(await world.send("GET", "/conversations/conv-a", mine), "not_found")
    turn_id = (await running).headers["X-Turn-Id"]
    # So young a turn might be running elsewhere.
    check_problem(await world.send("GET", f"/chat/stream/{turn_id}", mine), "turn_elsewhere")
    assert await world.gateway.rows("SELECT 1 FROM messages") == []


async def test_old_conversations_are_deleted_by_themselves(start_gateway: Start) -> None:
    world = await closed(start_gateway)
    mine = await world.signed_in()
    for name in ("conv-old", "conv-new"):
        await world.ask(mine, conversation_id=name)
    await world.gateway.rows(
        "UPDATE conversations SET updated_at = (now() AT TIME ZONE 'utc') - interval '31 days' WHERE id = 'conv-old'"
    )
    await world.gateway.close()
    world = await closed(start_gateway, RETENTION_DAYS="30")
    deadline = time.monotonic() + 20
    while (await world.send("GET", "/conversations/conv-old", mine)).status_code != 404:
        assert time.monotonic() < deadline
    assert (await world.send("GET", "/conversations/conv-new", mine)).status_code == 200
