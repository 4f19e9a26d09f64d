"""The server is killed under load, its database too, and started again: nothing that anybody was told is lost or doubled."""

import asyncio
import signal

import pytest

from tests.faults.crowd import Crowd, Manner
from tests.faults.durable import Serve
from tests.faults.kills import endure_blows, kill_both, kill_it, kill_its_database
from tests.faults.ledger import FRESH_S, texts
from tests.faults.server import Server, own_database, postgres_in
from tests.store.writing import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANNER = Manner(rate=25, words=60, gaps_ms=(0, 3, 20), think_ms=500)
LONG = Manner(words=600, gaps_ms=(15, 25))


async def test_kills_under_load(serve: Serve) -> None:
    server = await serve()
    blows = [(FRESH_S + 0.5, kill_it), (0.3, kill_its_database), (0.4, kill_both)]
    async with Crowd(lambda: server.url, LONG, seed=1) as crowd:
        asked = [crowd.question(streamed=True) for _ in range(6)]
        watched = [asyncio.create_task(crowd.ask(one)) for one in asked]
        crowd.manner = MANNER
        await until(lambda: all(one.pieces for one in asked))
        comparison = await endure_blows(server, own_database(server), crowd, blows)
        assert not comparison.wrong, texts(comparison.wrong)
        assert comparison.ends["done"] > 0
        assert comparison.logged["interrupted"] >= 6
        for one in await asyncio.gather(*watched):
            assert one.end == "cut"
            assert one.text(one.ended - FRESH_S), "the log was compared with something"
    await _stopped_while_it_starts(server)


async def _stopped_while_it_starts(server: Server) -> None:
    """However it is told to end, it leaves no database running."""
    assert len(postgres_in(server.data)) > 0
    assert await server.stop() == 0
    assert postgres_in(server.data) == [], "it ends with the gateway"
    await server.launch()
    await until(lambda: postgres_in(server.data))
    server.send(signal.SIGINT)
    assert await server.ended() == 0, server.text
    assert postgres_in(server.data) == []
    assert "Traceback" not in server.text
