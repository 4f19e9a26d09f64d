"""Two workers, one /metrics: its counters are the log's counts, whoever answers and whoever died meanwhile."""

import asyncio
from typing import Any

import psutil
import pytest

from tests.observe.scraping import Scrape, scrape
from tests.processes import GatewayProcess, Launch
from tests.redis_server import RedisServer
from tests.running import PROVIDERS, open_client

TURNS = 80
PATIENCE_S = 60


async def ask_all(gateway: GatewayProcess, turns: int) -> None:
    """Over connections of their own, so that both workers get some; every tenth is refused by its provider."""
    waiting = iter(range(turns))

    async def one_after_another() -> None:
        async with open_client(gateway.url, PATIENCE_S) as client:
            for number in waiting:
                script = " [[sim: status=400]]" if number % 10 == 0 else ""
                body = {"message": f"ما معنى «كتاب»؟ {number}{script}", "provider": PROVIDERS[number % 4]}
                path = "/chat/stream" if number % 2 else "/chat"
                await client.post(path, json=body, headers={"Connection": "close"})

    await asyncio.gather(*(one_after_another() for _ in range(4)))


async def logged(gateway: GatewayProcess) -> dict[str, Any]:
    turns = await gateway.rows(
        "SELECT provider, status, count(*) AS turns FROM messages WHERE role = 'assistant' GROUP BY provider, status"
    )
    [sums] = await gateway.rows(
        "SELECT sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS cost FROM messages"
    )
    return {"turns": {(row["provider"], row["status"]): row["turns"] for row in turns}, **sums}


def counted(found: Scrape) -> dict[str, Any]:
    return {
        "turns": found.by("gateway_turns_total", "provider", "status"),
        "input": found.value("gateway_tokens_total", kind="input"),
        "output": found.value("gateway_tokens_total", kind="output"),
        "cost": pytest.approx(found.value("gateway_cost_usd_total")),
    }


async def test_the_counters_are_the_logs(launch: Launch, redis_server: RedisServer, turns: int | None) -> None:
    turns = turns or TURNS
    gateway = await launch(REDIS_URL=redis_server.url, WEB_CONCURRENCY="2", MAX_RETRIES="0")
    await ask_all(gateway, turns)
    # Scrapes over new connections are answered by either worker, and agree.
    for _ in range(6):
        async with open_client(gateway.url) as client:
            found = await scrape(client)
        assert await logged(gateway) == counted(found)
        assert found.value("gateway_turn_seconds_count") == turns
        assert found.value("gateway_store_seconds_count") == turns
    await until_seen(gateway, "gateway_database_up", 1)
    await until_seen(gateway, "gateway_keys", 2 * len(PROVIDERS))

    assert gateway.process is not None
    [_, second] = children = sorted(psutil.Process(gateway.process.pid).children(), key=lambda child: child.pid)
    second.kill()
    await until_replaced(gateway, children)
    await ask_all(gateway, TURNS // 4)
    async with open_client(gateway.url) as client:
        found = await scrape(client)
    assert await logged(gateway) == counted(found)
    # Gauges are those of the living.
    await until_seen(gateway, "gateway_keys", 2 * len(PROVIDERS))


async def until_seen(gateway: GatewayProcess, name: str, value: float) -> None:
    """Each worker takes a sample of itself once a second."""
    async with asyncio.timeout(PATIENCE_S), open_client(gateway.url) as client:
        while (await scrape(client)).value(name) != value:  # noqa: ASYNC110 - of other processes, nobody tells
            await asyncio.sleep(0.1)


async def until_replaced(gateway: GatewayProcess, before: list[psutil.Process]) -> None:
    """Until another worker serves in the dead one's place."""
    assert gateway.process is not None
    parent = psutil.Process(gateway.process.pid)
    async with asyncio.timeout(PATIENCE_S):
        while len(new := [child for child in parent.children() if child not in before]) != 1 or not new[0].net_connections():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
