"""What may be spent in a day: durable, for all replicas, with the database away, and when a conversation is deleted meanwhile."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.access.budgets import FRESH_S, Budgets
from gateway.access.callers import Caller
from gateway.core.errors import GatewayError
from gateway.core.turn import TurnRecord
from gateway.store.base import Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.access.databases import OwnDatabase, Switch
from tests.store.samples import turn

AISHA, OMAR = Caller("user", "user:7"), Caller("user", "user:8")
APP = Caller("key", "key:app")
NOON_MS = int(datetime.now(UTC).replace(hour=12, minute=0, second=0).timestamp()) * 1000


class Clock:
    """Both clocks of one process: noon of today until it is moved."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def wall(self) -> float:
        return NOON_MS / 1000 + self.passed_s

    def timer(self) -> float:
        return self.passed_s

    def later(self, seconds: float = FRESH_S) -> None:
        self.passed_s += seconds


class Replica:
    """One process: its store, and its budgets."""

    def __init__(self, database: OwnDatabase, *, total: float = 0, user: float = 0) -> None:
        self.clock = Clock()
        self.switch = Switch(database.pool())
        self.store = PostgresStore(parse_dsn(database.url))
        self.budgets = Budgets(self.switch, total_usd=total, user_usd=user, clock=self.clock.wall, timer=self.clock.timer)
        self.store.on_spent = self.budgets.stored

    async def refusal(self, caller: Caller) -> GatewayError | None:
        try:
            await self.budgets.check(caller)
        except GatewayError as error:
            return error
        return None

    async def spend(self, record: TurnRecord) -> None:
        """A turn that runs, ends and is stored."""
        self.budgets.begun(record.begun.turn_id)
        await self.store.put([record])
        self.budgets.ended(record.begun.turn_id, record)


@pytest.fixture
async def replicas(database: OwnDatabase) -> Any:
    opened: list[Replica] = []

    def start(**bounds: float) -> Replica:
        opened.append(Replica(database, **bounds))
        return opened[-1]

    yield start
    for replica in opened:
        await replica.store.close()


_conversations = iter(f"conv-{number}" for number in range(1000))


def costing(usd: float | None, caller: Caller = APP, **more: Any) -> TurnRecord:
    return turn(
        next(_conversations), caller=caller.id, cost_usd=usd, **{"started_ms": NOON_MS, "ended_ms": NOON_MS + 2000} | more
    )


async def test_everybody_together(replicas: Any) -> None:
    one = replicas(total=1)
    assert await one.refusal(APP) is None
    await one.spend(costing(0.6))
    await one.spend(costing(None))
    assert await one.refusal(APP) is None
    await one.spend(costing(0.4, AISHA))
    for caller in (APP, AISHA, Caller("anonymous"), Caller("admin", "admin")):
        error = await one.refusal(caller)
        assert error is not None
        assert (error.code, error.retry_after) == ("overloaded", 12 * 3600)
    one.clock.later(12 * 3600)
    assert await one.refusal(APP) is None


async def test_one_user(replicas: Any) -> None:
    one = replicas(user=0.5)
    await one.spend(costing(9, APP))
    await one.spend(costing(0.5, AISHA))
    error = await one.refusal(AISHA)
    assert error is not None
    assert (error.code, error.status, error.retry_after) == ("daily_limit_reached", 429, 12 * 3600)
    assert [await one.refusal(caller) for caller in (OMAR, APP)] == [None, None]


async def test_restarts_and_replicas(replicas: Any) -> None:
    one, two = replicas(total=1), replicas(total=1)
    assert await two.refusal(APP) is None
    await one.spend(costing(1))
    assert await two.refusal(APP) is None, "what others spent is a moment late"
    two.clock.later()
    assert await two.refusal(APP) is not None
    assert await replicas(total=1).refusal(APP) is not None
    assert await replicas(total=1.1).refusal(APP) is None


async def test_a_turn_counts_once_whoever_writes_it(replicas: Any, database: OwnDatabase) -> None:
    one = replicas(total=1, user=1)
    await one.refusal(AISHA)
    record = costing(0.4, AISHA)
    for _ in range(3):
        await one.spend(record)
        await replicas(total=1).store.put([record])
    one.clock.later()
    assert await one.budgets.refreshed() == pytest.approx(0.4)
    rows = await database.rows("SELECT caller, usd FROM daily_spending ORDER BY caller")
    assert [(row["caller"], row["usd"]) for row in rows] == [("", 0.4), ("user:7", 0.4)]


async def test_the_database_away(replicas: Any) -> None:
    one = replicas(total=1)
    await one.spend(costing(0.5))
    await one.refusal(APP)
    one.switch.away = True
    one.clock.later()
    record = costing(0.5)
    one.budgets.begun(record.begun.turn_id)
    assert await one.refusal(APP) is None
    one.budgets.ended(record.begun.turn_id, record)
    assert await one.refusal(APP) is not None
    await one.store.put([record])
    assert await one.refusal(APP) is not None
    one.switch.away = False
    one.clock.later()
    assert await one.budgets.refreshed() == pytest.approx(1)


async def test_deleting_the_conversation_gives_nothing_back(replicas: Any) -> None:
    one = replicas(total=1)
    await one.refusal(APP)
    record = costing(1, started_ms=1000, ended_ms=NOON_MS)
    await one.store.put([turn(record.begun.conversation_id, caller=APP.id, started_ms=1000)])
    assert await one.store.delete_conversation(record.begun.conversation_id, Viewer(APP.id))
    await one.spend(record)
    assert await one.refusal(APP) is not None
    await one.budgets.close()
    assert await replicas(total=1).refusal(APP) is not None
    one.clock.later()
    assert await one.budgets.refreshed() == pytest.approx(1)


async def test_a_budget_that_is_set_in_the_middle_of_a_day(replicas: Any, database: OwnDatabase) -> None:
    before = replicas()
    before.store.on_spent = None
    await before.store.put([costing(0.7, AISHA), costing(0.2)])
    await before.store.put([costing(5, started_ms=1000, ended_ms=NOON_MS - 86_400_000)])
    assert not await database.rows("SELECT FROM daily_spending")
    one, two = replicas(total=1, user=0.5), replicas(total=1, user=0.5)
    for replica in (one, two, one):
        await replica.budgets.catch_up()
    assert await one.refusal(AISHA) is not None
    assert await one.refusal(OMAR) is None
    assert await one.budgets.refreshed() == pytest.approx(0.9)
    await one.spend(costing(0.15))
    assert await one.refusal(OMAR) is not None


async def test_sums_of_long_ago_go(replicas: Any, database: OwnDatabase) -> None:
    one = replicas(total=1)
    await one.spend(costing(1))
    await one.spend(costing(1, started_ms=1000, ended_ms=2000))
    await one.budgets.prune()
    assert len(await database.rows("SELECT FROM daily_spending")) == 1


async def test_what_it_costs_when_it_is_on(replicas: Any) -> None:
    """One look a second, however many turns."""
    one = replicas(total=1)
    await one.refusal(APP)
    one.switch.asked.clear()
    for _ in range(1000):
        assert await one.refusal(APP) is None
    assert not one.switch.asked.is_set()
    one.clock.later()
    await one.refusal(APP)
    assert one.switch.asked.is_set()
