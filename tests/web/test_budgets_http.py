"""A budget as callers meet it: refused before more is spent, until midnight, and never for what is paid for already."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gateway.web import schemas_service as schemas
from simulator import parse_text
from tests.running import PROVIDERS, Start, Told
from tests.web.callers import ADMIN, API_KEY, bearer, closed
from tests.web.shapes import check, check_problem

QUESTION = {"message": "ما معنى «كتاب»؟"}
LEAST = "0.0000001"
"""Less than any turn costs, so that one uses it up."""


def until_midnight(answer: httpx.Response) -> bool:
    """Whether Retry-After leads to the next UTC midnight, give or take the test's own time."""
    there = datetime.now(UTC) + timedelta(seconds=int(answer.headers["Retry-After"]))
    return abs((there + timedelta(hours=12)).replace(hour=0, minute=0, second=0, microsecond=0) - there) < timedelta(minutes=2)


async def test_everybody_together(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_BUDGET_USD=LEAST)
    app = bearer(API_KEY) | {"Idempotency-Key": "paid"}
    first = await world.ask(app)
    assert first["usage"]["cost_usd"] > 0
    for headers in (bearer(API_KEY), await world.signed_in(), bearer(ADMIN)):
        for path in ("/chat", "/chat/stream"):
            answer = await world.send("POST", path, headers, json=QUESTION)
            check_problem(answer, "overloaded")
            assert until_midnight(answer)
    assert await world.ask(app) == first
    assert (await world.send("GET", f"/chat/stream/{first['turn_id']}", bearer(API_KEY))).status_code == 200
    assert len(world.gateway.simulator.calls) == 1

    # It is the database that knows: another server on it does not begin anew.
    await world.gateway.close()
    world = await closed(start_gateway, DAILY_BUDGET_USD=LEAST)
    check_problem(await world.send("POST", "/chat", bearer(API_KEY), json=QUESTION), "overloaded")
    stats = (await world.send("GET", "/stats", bearer(ADMIN))).json()
    check(schemas.Statistics, stats)
    assert stats["budget"]["spent_usd"] == stats["cost_usd"] == first["usage"]["cost_usd"]
    assert stats["turns"]["by_caller"][0]["cost_usd"] == first["usage"]["cost_usd"]
    metrics = (await world.send("GET", "/metrics", bearer(ADMIN))).text
    assert f"gateway_daily_budget_usd {float(LEAST)}" in metrics


async def test_one_user(start_gateway: Start) -> None:
    world = await closed(start_gateway, USER_DAILY_BUDGET_USD=LEAST, DAILY_REQUEST_LIMIT="30")
    spender, other = await world.signed_in(), await world.signed_in()
    await world.ask(spender)
    answer = await world.send("POST", "/chat", spender, json=QUESTION)
    check_problem(answer, "daily_limit_reached")
    assert until_midnight(answer)
    await world.ask(other)
    await world.ask(bearer(API_KEY))
    # A refused question is not one of the day's.
    assert (await world.send("GET", "/auth/me", spender)).json()["daily_requests"] == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_who_stops_every_reply_before_its_end_pays_for_what_came(start_gateway: Start, provider: str) -> None:
    world = await closed(start_gateway, USER_DAILY_BUDGET_USD=LEAST)
    user = await world.signed_in()
    world.gateway.simulator.script(parse_text("fault=stall@mid"))
    async with world.gateway.streaming(QUESTION | {"provider": provider}, **user) as source:
        events = source.aiter_sse()
        seen = [await anext(events), await anext(events)]
        stopped = await world.send("DELETE", f"/chat/stream/{source.response.headers['X-Turn-Id']}", user)
        assert stopped.status_code == 202
        told = Told([*seen, *[event async for event in events if event.data]])
    usage = told.last["usage"]
    assert (told.last["status"], bool(told.text())) == ("stopped", True)
    assert usage["cost_usd"] > float(LEAST)
    if provider in ("openai", "groq"):
        assert (usage["input_tokens"], usage["output_tokens"]) == (None, None), "only the price is estimated"
    check_problem(await world.send("POST", "/chat", user, json=QUESTION), "daily_limit_reached")


async def test_the_dashboard_shows_it(start_gateway: Start) -> None:
    gateway = await start_gateway(DAILY_BUDGET_USD="5")
    page = (await gateway.client.get("/dashboard")).text
    assert 'id="spent-today"' in page
    assert "/ $5" in page
