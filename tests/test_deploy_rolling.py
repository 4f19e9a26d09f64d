"""Replicas behind nginx are replaced one after another under load, and no client notices; skipped without nginx."""

from pathlib import Path

import pytest

from simulator import Simulator
from tests.balancing import database_for, program
from tests.faults.crowd import Crowd, Manner
from tests.faults.ledger import compared, texts
from tests.faults.rolling import endure_replacing, fleet, wrong_with
from tests.redis_server import running_redis

pytestmark = pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")

# Half of them streams, one in four in a conversation of several; nobody sends a key, and nobody asks again.
MANNER = Manner(rate=25, words=20, gaps_ms=(0, 3, 10), think_ms=200)


async def test_replacing_every_replica_fails_no_chat(simulator: Simulator, database_url: str, tmp_path: Path) -> None:
    with running_redis() as redis, database_for(database_url) as url:
        async with fleet(tmp_path, simulator.base_url, DATABASE_URL=url, REDIS_URL=redis.url) as replicas:
            async with Crowd(lambda: replicas.url, MANNER) as crowd:
                phones = await endure_replacing(replicas, crowd)
            comparison = await compared(database_url, crowd)
    assert not comparison.wrong, texts(comparison.wrong)
    assert comparison.ends == {"done": len(crowd.asked)}, {one.code for one in crowd.asked}
    assert comparison.logged == {"completed": len(crowd.asked)}
    assert await wrong_with(phones, database_url) == []
    assert phones
    assert simulator.log.total == len(crowd.asked) + len(phones), "a turn was paid for twice"
