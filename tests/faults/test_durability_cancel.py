"""Clients hang up at any moment, by the hundred: their turns are logged, and nothing of them is left in the server."""

import random

import pytest

import simulator as stand_in
from tests.faults.cancels import hang_up, left_in
from tests.faults.crowd import Crowd, Manner
from tests.faults.durable import Serve
from tests.faults.ledger import compared, settled, texts

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLIENTS = 200
MANNER = Manner(words=40, gaps_ms=(0, 4, 8), think_ms=200)
LONGEST_S = 0.5
# Ended turns are kept for a minute, in case somebody reads them again.
MOST_KEPT_MB = 40


async def test_clients_that_hang_up(url: str, provider: stand_in.Simulator, serve: Serve) -> None:
    server = await serve(DATABASE_URL=url, ABANDON_S="0.1")
    chance = random.Random(5)
    async with Crowd(lambda: server.url, MANNER, seed=10) as crowd:
        await hang_up(crowd, 50, chance, longest_s=LONGEST_S)
        await settled(server.url)
        before = await left_in(server)
        await hang_up(crowd, CLIENTS, chance, longest_s=LONGEST_S)
        await settled(server.url)
        after = await left_in(server)
        comparison = await compared(url, crowd)
    assert not comparison.wrong, texts(comparison.wrong)
    assert comparison.logged.keys() == {"completed", "stopped"}
    assert comparison.logged.total() == after.ended > CLIENTS / 2, "every turn that was accepted"
    assert (after.turns, after.readers, after.clients) == (0, 0, 0)
    assert after.tasks <= before.tasks
    assert after.threads <= before.threads
    assert after.memory < before.memory + MOST_KEPT_MB
    assert (provider.count("open"), provider.count("completed") + provider.count("aborted")) == (0, provider.log.total)
    assert provider.count("aborted") > 0
    assert await server.stop() == 0
