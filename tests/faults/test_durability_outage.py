"""The database goes away under load: nobody notices, nothing is lost, nothing is written twice."""

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.faults.crowd import Crowd
from tests.faults.database import Database, breaking
from tests.faults.durable import Serve
from tests.faults.ledger import texts
from tests.faults.outages import TROUBLES, Outage, endure
from tests.faults.server import Server
from tests.store.writing import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
AWAY_S = {"stopped": 0.8, "frozen": 2.6, "cut": 0.8, "read-only": 0.8}
HANGS_S = 30.0
_SEEDS = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str, serve: Serve) -> Server:
    """A gateway that does not wait long."""
    return await serve(DATABASE_URL=url, STORE_WAIT_S="0.3")


def check(outage: Outage) -> None:
    """No chat failed, none took long, and the log equals what clients saw."""
    assert not outage.comparison.wrong, texts(outage.comparison.wrong)
    assert set(outage.comparison.ends) == {"done"}, outage.comparison.ends
    assert set(outage.comparison.logged) == {"completed"}, outage.comparison.logged
    assert outage.comparison.logged.total() > 30
    assert max(outage.seconds) < HANGS_S


@pytest.mark.parametrize("trouble", AWAY_S)
async def test_a_database_that_is_away_under_load(database: Database, url: str, server: Server, trouble: str) -> None:
    async with Crowd(lambda: server.url, seed=next(_SEEDS)) as crowd:
        outage = await endure(server, url, crowd, TROUBLES[trouble](database, url), AWAY_S[trouble], around_s=0.3)
    check(outage)
    # What a cut meets is written over another connection at once, mostly in time.
    assert outage.comparison.spooled > 0 or trouble == "cut"


async def test_connections_that_break_in_the_middle_of_messages(url: str, serve: Serve) -> None:
    async with breaking(url, random.Random(3)) as (broken_url, wire):

        @asynccontextmanager
        async def breaks() -> AsyncIterator[None]:
            wire.breaks = True
            yield
            await until(lambda: wire.cuts > 3)
            wire.breaks = False

        server = await serve(DATABASE_URL=broken_url)
        async with Crowd(lambda: server.url, seed=next(_SEEDS)) as crowd:
            outage = await endure(server, url, crowd, breaks(), 1.2, around_s=0.3)
        check(outage)
        assert await server.stop() == 0
