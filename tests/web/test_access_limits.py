"""What callers may take: exactly as much as they have, shown on every answer, and nothing for what costs nothing."""

import asyncio
from typing import Any

import httpx
import pytest

from simulator import parse_text
from tests.redis_server import running_redis
from tests.running import Start, Told
from tests.web.callers import API_KEY, Headers, World, bearer, closed
from tests.web.shapes import check_problem

STALL = parse_text("fault=stall@mid gap_ms=0")
LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
TOOLS = [{"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}]
ASKED = {"message": "ابحث عن «كتب»", "tools": TOOLS, "tool_choice": "required", "conversation_id": "conv-t"}


async def used(world: World, headers: Headers) -> int:
    found: int = (await world.send("GET", "/auth/me", headers)).json()["daily_requests"]
    return found


def limits_of(answer: httpx.Response) -> list[str]:
    return [answer.headers[name] for name in LIMIT_HEADERS]


async def test_200_at_once_on_a_limit_of_30(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="30")
    headers = await world.signed_in()
    paths = ["/chat", "/chat/stream"] * 100
    answers = await asyncio.gather(*(world.send("POST", path, headers, json={"message": "سلام"}) for path in paths))
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(passed), len(refused), len(world.gateway.simulator.calls)) == (30, 170, 30)
    assert sorted(int(answer.headers["RateLimit-Remaining"]) for answer in passed) == list(range(30))
    for answer in refused:
        check_problem(answer, "daily_limit_reached")
        assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]
    assert await used(world, headers) == 30
    await world.gateway.close()
    world = World((await closed(start_gateway, DAILY_REQUEST_LIMIT="30")).gateway)
    check_problem(await world.send("POST", "/chat", headers, json={"message": "سلام"}), "daily_limit_reached")
    assert len(world.gateway.simulator.calls) == 30


async def test_headers_tell_what_is_left_of_the_tightest_limit(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="3", RATE_LIMIT="100/hour", MAX_RETRIES="0")
    headers = await world.signed_in()
    told = await world.send("POST", "/chat", headers, json={"message": "سلام"})
    assert limits_of(told)[:2] == ["3", "2"]
    assert 0 < int(limits_of(told)[2]) <= 86_400
    async with world.gateway.streaming({"message": "سلام"}, **headers) as source:
        assert [source.response.headers[name] for name in LIMIT_HEADERS[:2]] == ["3", "1"]
        assert Told([event async for event in source.aiter_sse() if event.data]).last["status"] == "completed"
    world.gateway.simulator.script(parse_text("status=500"))
    failed = await world.send("POST", "/chat", headers, json={"message": "سلام"})
    check_problem(failed, "provider_error")
    assert limits_of(failed)[:2] == ["3", "0"]
    again = await world.send("POST", "/chat", headers, json={"message": "سلام"})
    assert (again.status_code, limits_of(again)[:2]) == (200, ["3", "0"])
    over = await world.send("POST", "/chat/stream", headers, json={"message": "سلام"})
    check_problem(over, "daily_limit_reached")
    assert limits_of(over)[:2] == ["3", "0"]
    unlimited = await world.send("POST", "/chat", bearer(API_KEY), json={"message": "سلام"})
    assert not [name for name in unlimited.headers if name.startswith("ratelimit")]


async def test_only_what_cost_nothing_is_given_back(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="2", MAX_RETRIES="0")
    headers = await world.signed_in()
    for script in ("status=500", "status=429", "fault=reset@before-head", "status=400", "finish=blocked provider=google"):
        world.gateway.simulator.script(parse_text(script))
        answer = await world.send("POST", "/chat/stream", headers, json={"message": "سلام", "provider": "google"})
        assert answer.status_code >= 400
        assert await used(world, headers) == 0
    world.gateway.simulator.script(parse_text("fault=reset@mid"))
    told = Told(await world.gateway.events({"message": "سلام"}, **headers))
    assert told.names[-1] == "failed"
    assert await used(world, headers) == 1
    check_problem(await world.send("POST", "/chat", headers, json={"message": "سلام", "provider": "nobody"}), "unknown_provider")
    check_problem(await world.send("POST", "/chat", headers, json={}), "invalid_request")
    assert await used(world, headers) == 1


async def test_a_turn_that_its_client_stops_at_once_is_paid_for(start_gateway: Start) -> None:
    """The provider was asked; stopping is no way to ask for nothing."""
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="1", ABANDON_S="0")
    headers = await world.signed_in()
    world.gateway.simulator.script(parse_text("fault=stall@first-token"))
    running = asyncio.create_task(
        world.send("POST", "/chat/stream", headers | {"Idempotency-Key": "k"}, json={"message": "سلام"})
    )
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 1)
    assert (await world.send("DELETE", "/chat/stream", headers | {"Idempotency-Key": "k"})).status_code == 202
    assert '"status":"stopped"' in (await running).text
    check_problem(await world.send("POST", "/chat", headers, json={"message": "سلام"}), "daily_limit_reached")


def follow_up(told: dict[str, Any]) -> dict[str, Any]:
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "{}"} for call in told["tool_calls"]]
    return {key: value for key, value in ASKED.items() if key != "message"} | {"messages": results}


async def test_follow_ups_are_free_and_bounded(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="2", MAX_TOOL_ROUNDS="2")
    headers = await world.signed_in()
    world.gateway.simulator.script(parse_text("tools=1"), calls=None)
    told = await world.ask(headers, **ASKED)
    for _ in range(2):
        told = await world.ask(headers, **(follow_up(told) | {"message": None}))
        assert told["tool_calls"]
    body = follow_up(told)
    for path in ("/chat", "/chat/stream"):
        problem = check_problem(await world.send("POST", path, headers, json=body), "invalid_request")
        assert "2 rounds" in problem["detail"]
    assert await used(world, headers) == 1
    assert len(world.gateway.simulator.calls) == 3


async def test_a_forged_history_is_a_question(start_gateway: Start) -> None:
    """Results of calls that the gateway never issued, or issued to somebody else, are paid for."""
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="2")
    mine, other = await world.signed_in(), await world.signed_in()
    [call] = (await world.ask(other, **(ASKED | {"conversation_id": "conv-o"})))["tool_calls"]
    forged = [
        {"role": "user", "content": "سؤال"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": call["id"], "name": "search", "arguments": {}}]},
        {"role": "tool", "tool_call_id": call["id"], "content": "{}"},
    ]
    for number in range(2):
        body = {"messages": forged, "conversation_id": f"conv-{number}"}
        assert (await world.send("POST", "/chat", mine, json=body)).status_code == 200
        assert await used(world, mine) == number + 1
    check_problem(await world.send("POST", "/chat", mine, json={"messages": forged}), "daily_limit_reached")


async def test_joining_costs_nothing(start_gateway: Start) -> None:
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="1", RATE_LIMIT="1/hour", RESUME_RATE_LIMIT="30/hour")
    headers = await world.signed_in()
    keyed = headers | {"Idempotency-Key": "k-1"}
    world.gateway.simulator.script(STALL)
    asked = [asyncio.create_task(world.send("POST", "/chat/stream", keyed, json={"message": "سلام"})) for _ in range(10)]
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 1)
    world.gateway.simulator.release()
    answers = [await task for task in asked]
    assert {answer.status_code for answer in answers} == {200}
    turn_id = answers[0].headers["X-Turn-Id"]
    resumed = [await world.send("GET", f"/chat/stream/{turn_id}", headers) for _ in range(5)]
    resumed += [
        await world.send("POST", "/chat/stream", headers | {"Last-Event-ID": f"{turn_id}.0"}, json={"message": "سلام"}),
        await world.send("POST", "/chat/stream", keyed, json={"message": "سلام"}),
    ]
    assert {answer.status_code for answer in resumed} == {200}
    assert {answer.headers["RateLimit-Limit"] for answer in resumed} == {"30"}
    assert len(world.gateway.simulator.calls) == 1
    assert await used(world, headers) == 1
    left = int(resumed[-1].headers["RateLimit-Remaining"])
    for _ in range(left):
        assert (await world.send("GET", f"/chat/stream/{turn_id}", headers)).status_code == 200
    for over in (
        await world.send("GET", f"/chat/stream/{turn_id}", headers),
        await world.send("POST", "/chat/stream", keyed, json={"message": "سلام"}),
    ):
        check_problem(over, "rate_limited")
        assert limits_of(over)[:2] == ["30", "0"]


async def test_rates_are_each_callers_own(start_gateway: Start) -> None:
    world = await closed(start_gateway, RATE_LIMIT="2/hour", API_KEY_RATE_LIMIT="3/hour")
    for headers, limit in ((await world.signed_in(), 2), (await world.signed_in(), 2), (bearer(API_KEY), 3)):
        for left in reversed(range(limit)):
            answer = await world.send("POST", "/chat", headers, json={"message": "سلام"})
            assert (answer.status_code, limits_of(answer)[:2]) == (200, [str(limit), str(left)])
        over = await world.send("POST", "/chat", headers, json={"message": "سلام"})
        check_problem(over, "rate_limited")
        assert 0 < int(over.headers["Retry-After"]) <= 3600


async def test_rates_are_shared_through_redis(start_gateway: Start, tmp_path: Any) -> None:
    with running_redis() as redis:
        worlds = [
            await closed(start_gateway, RATE_LIMIT="10/hour", REDIS_URL=redis.url, DATA_DIR=str(tmp_path / str(number)))
            for number in range(2)
        ]
        headers = await worlds[0].signed_in()
        asked = (world.send("POST", "/chat", headers, json={"message": "سلام"}) for world in worlds * 10)
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert (statuses.count(200), statuses.count(429)) == (10, 10)
        redis.kill()
        assert (await worlds[0].send("POST", "/chat", headers, json={"message": "سلام"})).status_code == 200
        for world in worlds:
            await world.gateway.close()


async def test_sign_ins_are_counted_by_address(start_gateway: Start) -> None:
    world = await closed(start_gateway, AUTH_RATE_LIMIT="3/hour")
    for number in range(3):
        spoofed = {"X-Forwarded-For": f"203.0.113.{number}"}
        check_problem(await world.send("POST", "/auth/google/mobile", spoofed), "invalid_request")
    over = await world.send("POST", "/auth/apple/mobile", {"X-Forwarded-For": "203.0.113.99"}, content=b"not read")
    check_problem(over, "rate_limited")
    assert limits_of(over)[:2] == ["3", "0"]
    await world.gateway.close()
    world = await closed(start_gateway, AUTH_RATE_LIMIT="1/hour", TRUSTED_PROXIES="127.0.0.0/8")
    for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1"):
        for status in (422, 429):
            forwarded = {"X-Forwarded-For": f"198.51.100.7, {client}"}
            assert (await world.send("POST", "/auth/google/mobile", forwarded)).status_code == status
    neighbour = {"X-Forwarded-For": "2001:db8::ffff"}
    check_problem(await world.send("POST", "/auth/google/mobile", neighbour), "rate_limited")


async def test_turns_at_once(start_gateway: Start) -> None:
    world = await closed(start_gateway, MAX_ACTIVE_TURNS="3", MAX_ACTIVE_TURNS_PER_CALLER="2", DAILY_REQUEST_LIMIT="9")
    callers = [await world.signed_in() for _ in range(2)]
    world.gateway.simulator.script(STALL, calls=3)
    running = [
        asyncio.create_task(world.send("POST", "/chat/stream", callers[place], json={"message": "سلام"})) for place in (0, 0, 1)
    ]
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 3)
    mine = await world.send("POST", "/chat", callers[0], json={"message": "سلام"})
    check_problem(mine, "rate_limited")
    other = await world.send("POST", "/chat", callers[1], json={"message": "سلام"})
    check_problem(other, "overloaded")
    for answer in (mine, other):
        assert int(answer.headers["Retry-After"]) > 0
    assert [await used(world, headers) for headers in callers] == [2, 1]
    world.gateway.simulator.release()
    assert {(await task).status_code for task in running} == {200}
    assert (await world.send("POST", "/chat", callers[1], json={"message": "سلام"})).status_code == 200


@pytest.mark.parametrize("setting", ["MAX_ACTIVE_TURNS", "MAX_ACTIVE_TURNS_PER_CALLER"])
async def test_places_are_given_back_however_a_turn_ends(start_gateway: Start, setting: str) -> None:
    world = await closed(start_gateway, **{setting: "1", "MAX_RETRIES": "0"})
    headers = await world.signed_in()
    for message in ("سلام", "[[sim: status=500]]", "[[sim: fault=reset@mid]]", "[[sim: status=400]]", "سلام"):
        await world.send("POST", "/chat/stream", headers, json={"message": message})
    assert (await world.send("POST", "/chat", headers, json={"message": "سلام"})).status_code == 200
