"""A client whose connection breaks at any byte, up to thirty times a turn, has every event once, in order, as the log has it."""

import asyncio
import json
import random
from collections.abc import Sequence

from tests.faults.phone import WAYS, Phone, Screen
from tests.faults.questions import question
from tests.processes import Launch
from tests.redis_server import RedisServer
from tests.running import Gateway

TURNS = 60
TURNS_OF_TWO = 30
AT_ONCE = 10


async def read_with_cuts(gateways: Sequence[Gateway], number: int, chance: random.Random) -> Phone:
    """One turn, to its end."""
    addresses = [(gateway.client.base_url.host, gateway.client.base_url.port or 80) for gateway in gateways]
    phone = Phone(addresses, question(number, chance), f"key-{number}", chance)
    await phone.read()
    return phone


async def check_logged(gateway: Gateway, screen: Screen) -> None:
    """What the client put together is what the last event says, and what the log has."""
    assert screen.end is not None
    name, done = screen.end
    assert name == "done", done
    assert screen.text("token") == done["content"]
    assert screen.text("thought") == "".join(thought["content"] for thought in done["thoughts"])
    assert screen.items("tool_call") == done["tool_calls"]
    assert screen.items("source") == done["sources"]
    [row] = await gateway.rows(
        "SELECT id, content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'", screen.turn_id
    )
    assert (row["content"], row["status"], str(row["id"])) == (done["content"], "completed", done["message_id"])
    calls = await gateway.rows("SELECT tool_name, arguments FROM tool_calls WHERE message_id = $1 ORDER BY position", row["id"])
    assert [(call["tool_name"], json.loads(call["arguments"])) for call in calls] == [
        (call["name"], call["arguments"]) for call in screen.items("tool_call")
    ]


async def check_turns(gateways: Sequence[Gateway], turns: int) -> list[Phone]:
    """Many turns, some at once, each with a seed of its own."""
    some = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Phone:
        async with some:
            return await read_with_cuts(gateways, number, random.Random(number))

    phones = await asyncio.gather(*(one(number) for number in range(turns)))
    for phone in phones:
        await check_logged(gateways[0], phone.screen)
    assert [text for phone in phones for text in phone.refused] == []
    turn_ids = [phone.screen.turn_id for phone in phones]
    assert len(set(turn_ids)) == turns
    assert gateways[0].simulator.log.total == turns, "a turn was paid for twice"
    [count] = await gateways[0].rows("SELECT count(*) AS turns FROM messages WHERE role = 'assistant'")
    assert count["turns"] == turns
    ways = {way: sum(phone.ways.count(way) for phone in phones) for way in WAYS}
    print(
        f"\n{turns} turns, {sum(ways.values())} connections {ways}, {sum(len(phone.screen.units) for phone in phones)} characters"
    )
    return phones


async def test_one_process(gateway: Gateway, turns: int | None) -> None:
    turns = turns or TURNS
    phones = await check_turns([gateway], turns)
    assert sum(phone.tried for phone in phones) > 5 * turns, "the connections hardly broke"
    for way in WAYS:
        assert sum(phone.ways.count(way) for phone in phones) > turns // 2


async def test_two_processes(launch: Launch, redis_server: RedisServer, turns: int | None) -> None:
    """The reconnect lands on either."""
    gateways = [await launch(REDIS_URL=redis_server.url) for _ in range(2)]
    await check_turns(gateways, turns or TURNS_OF_TWO)
