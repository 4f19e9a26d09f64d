"""Redis away, frozen, emptied: turns go on, readers elsewhere wait or are told, and all is well when it is back."""

import asyncio
from typing import Any

import pytest
from httpx_sse import ServerSentEvent

from gateway.engine import following
from tests.faults.conftest import StartPair
from tests.faults.test_resume_elsewhere import SILENT, STALLED, Pair, running_turn, stalled
from tests.redis_server import RedisServer
from tests.running import Gateway, Told
from tests.web.shapes import check_problem, check_stream


async def health(gateway: Gateway) -> tuple[str, str]:
    report = (await gateway.client.get("/health")).json()
    return report["status"], report["redis"]


async def until_redis_is(gateway: Gateway, state: str) -> None:
    while (await health(gateway))[1] != state:  # noqa: ASYNC110 - of another's state, nobody tells
        await asyncio.sleep(0.02)


async def first_token(reading: asyncio.Task[list[ServerSentEvent]], seen: asyncio.Event) -> None:
    await asyncio.wait((reading, asyncio.create_task(seen.wait())), return_when=asyncio.FIRST_COMPLETED)
    assert not reading.done()


async def read_with_sign(gateway: Gateway, turn_id: str, seen: asyncio.Event) -> list[ServerSentEvent]:
    """All events of a turn; `seen` is set at the first token."""
    events: list[ServerSentEvent] = []
    async with gateway.streaming(turn_id=turn_id) as source:
        async for event in source.aiter_sse():
            if event.data:
                events.append(event)
            if event.event == "token":
                seen.set()
    return events


async def test_health_says_so(pair: Pair, redis_server: RedisServer) -> None:
    one, two = pair
    assert await health(one) == ("healthy", "up")
    redis_server.kill()
    await until_redis_is(one, "down")
    assert (await health(one))[0] == "degraded"
    assert (await one.ask(SILENT | {"message": "سلام"}))["logged"] == "stored"
    redis_server.start()
    for gateway in (one, two):
        await until_redis_is(gateway, "up")
    assert (await health(one))[0] == "healthy"


async def test_away_from_the_start(pair: Pair, redis_server: RedisServer) -> None:
    """A turn that began meanwhile is found elsewhere once Redis is back."""
    one, two = pair
    redis_server.kill()
    turn_id, reading = await running_turn(one, STALLED, idempotency_key="k-1")
    told = check_problem(await two.client.get(f"/chat/stream/{turn_id}"), "turn_elsewhere")
    assert told["retry_after"]
    joining = await two.client.post("/chat", json=STALLED, headers={"Idempotency-Key": "k-1"})
    check_problem(joining, "turn_elsewhere")
    redis_server.start()
    while (await two.client.get("/conversations/conv-1")).status_code == 404:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    seen = asyncio.Event()
    there = asyncio.create_task(read_with_sign(two, turn_id, seen))
    await first_token(there, seen)
    one.simulator.release()
    assert Told(await there).last == Told(await reading).last
    assert len(one.simulator.calls) == 1


@pytest.mark.parametrize("how", ["gone", "frozen", "emptied"])
async def test_away_in_the_middle(pair: Pair, redis_server: RedisServer, how: str) -> None:
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    seen = asyncio.Event()
    there = asyncio.create_task(read_with_sign(two, turn_id, seen))
    await first_token(there, seen)
    match how:
        case "gone":
            redis_server.kill()
        case "frozen":
            redis_server.hang()
        case _:
            redis_server.ask("FLUSHALL")
    if how != "emptied":
        await until_redis_is(two, "down")
    one.simulator.release()
    here = Told(await reading)
    match how:
        case "gone":
            redis_server.start()
        case "frozen":
            redis_server.wake()
        case _:
            pass
    told = Told(await there)
    check_stream(told)
    assert told.text() == here.text()
    assert told.last == here.last


async def test_away_for_good_the_log_has_the_end(pair: Pair, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.1)
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    seen = asyncio.Event()
    there = asyncio.create_task(read_with_sign(two, turn_id, seen))
    await first_token(there, seen)
    redis_server.kill()
    one.simulator.release()
    here, told = Told(await reading), Told(await there)
    check_stream(told)
    assert told.text() == here.text()
    assert told.data("source") == here.data("source")
    assert told.last == here.last


async def test_a_stop_that_cannot_be_passed_on(pair: Pair, redis_server: RedisServer) -> None:
    one, two = pair
    turn_id, reading = await running_turn(one, STALLED)
    seen = asyncio.Event()
    there = asyncio.create_task(read_with_sign(two, turn_id, seen))
    await first_token(there, seen)
    redis_server.kill()
    check_problem(await two.client.delete(f"/chat/stream/{turn_id}"), "turn_elsewhere")
    assert (await one.client.delete(f"/chat/stream/{turn_id}")).status_code == 202
    assert Told(await reading).last["status"] == "stopped"
    redis_server.start()
    assert Told(await there).last["status"] == "stopped"


async def test_nobody_waits_long_for_a_frozen_redis(start_pair: StartPair, redis_server: RedisServer) -> None:
    """What does not need it is as quick as ever: the test would take long otherwise, and its requests time out."""
    one, two = await start_pair(ABANDON_S="0")
    redis_server.hang()
    for gateway in (one, two):
        gateway.client.timeout = 5
    answers: list[dict[str, Any]] = await asyncio.gather(
        *(gateway.ask({"message": f"سلام {number}"}) for gateway in (one, two) for number in range(10))
    )
    assert {answer["status"] for answer in answers} == {"completed"}
    async with one.streaming(STALLED):
        await stalled(one)
    # The last reader has gone: nobody elsewhere can be asked, and it is stopped.
    await one.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    redis_server.wake()
