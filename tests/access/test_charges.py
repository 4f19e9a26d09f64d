"""What turns take and give back: the day's questions, tool rounds, turns at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.access.callers import Caller
from gateway.access.charges import Charge, Ledger
from gateway.access.daily import DailyLimits
from gateway.access.quota import OverLimit
from gateway.access.rounds import ToolRounds
from gateway.core.errors import GatewayError
from gateway.core.events import UsageReported
from gateway.core.messages import ToolCall
from gateway.core.turn import Thought, TurnError, TurnRecord
from gateway.store.base import Store
from tests.access.databases import OwnDatabase, Switch
from tests.store.samples import turn

AISHA = Caller("user", "user:7")
FAILED = TurnError("provider_error", "تعذّر الوصول", True)


def failed(**more: Any) -> TurnRecord:
    return turn(**{"content": "", "status": "failed", "error": FAILED, **more})


def ledger(database: Switch, *, daily: int = 3, rounds: int = 3, active: int = 0) -> Ledger:
    return Ledger(DailyLimits(database, user_limit=daily, key_limit=0), ToolRounds(database, rounds), active)


async def question(books: Ledger, caller: Caller = AISHA, conversation: str = "conv-1") -> Charge:
    return await books.charge(caller, conversation, follow_up=False)


async def follow_up(books: Ledger, caller: Caller = AISHA, conversation: str = "conv-1") -> Charge:
    return await books.charge(caller, conversation, follow_up=True)


@pytest.fixture
def switch(database: OwnDatabase) -> Switch:
    return Switch(database.pool())


@pytest.mark.parametrize(
    ("record", "free"),
    [
        (turn(), False),
        (turn(content=""), False),
        (turn(content="", status="stopped"), False),
        (failed(), True),
        (failed(status="interrupted", error=None), True),
        (failed(content="بعض"), False),
        (failed(tool_calls=(ToolCall("c1", "search", {}),)), False),
        (failed(thoughts=(Thought(1, "فكرة", (), 1),)), False),
        (failed(usage=UsageReported(12, 3, 0, 0, 0)), False),
        (failed(usage=UsageReported(12, 0, 0, 0, 0)), True),
        (failed(usage=UsageReported(34, 1, 0), cost_usd=0.0000039), True),
    ],
)
def test_which_turns_cost_nothing(record: TurnRecord, free: bool) -> None:
    assert record.cost_nothing is free


async def test_a_question_is_paid_for_unless_it_failed_for_nothing(switch: Switch) -> None:
    books = ledger(switch, daily=1)
    charge = await question(books)
    assert charge.quota is not None
    assert (charge.quota.limit, charge.quota.remaining) == (1, 0)
    with pytest.raises(OverLimit):
        await question(books)
    charge.close(failed())
    charge.close(failed())
    (await question(books)).close(turn())
    with pytest.raises(OverLimit):
        await question(books)


async def test_a_turn_that_never_ran_costs_nothing(switch: Switch) -> None:
    books = ledger(switch, daily=1, active=1)
    for _ in range(5):
        (await question(books)).close()
    await question(books)


async def test_so_many_turns_at_once_per_caller(switch: Switch) -> None:
    books = ledger(switch, daily=0, active=2)
    first = await question(books)
    await question(books, conversation="conv-2")
    with pytest.raises(GatewayError) as refused:
        await question(books)
    assert (refused.value.code, refused.value.status) == ("rate_limited", 429)
    assert refused.value.retry_after is not None
    await question(books, Caller("user", "user:8"))
    for _ in range(5):
        await question(books, Caller("anonymous"))
    first.close(turn())
    await follow_up(books)


async def test_a_refused_question_takes_no_place(switch: Switch) -> None:
    books = ledger(switch, daily=1, active=2)
    (await question(books)).close(turn())
    for _ in range(5):
        with pytest.raises(OverLimit):
            await question(books)
    for _ in range(2):
        await follow_up(books)
    assert dict(books._active) == {"user:7": 2}


async def test_follow_ups_are_free_and_only_so_many(switch: Switch, store: Store) -> None:
    books = ledger(switch, daily=1, rounds=3)
    (await question(books)).close(turn())
    await store.put([turn(caller="user:7")])
    for _ in range(3):
        charge = await follow_up(books)
        assert charge.quota is None
        record = turn(question=None, caller="user:7")
        await store.put([record])
        charge.close(record)
    with pytest.raises(GatewayError) as refused:
        await follow_up(books)
    assert (refused.value.code, refused.value.status) == ("invalid_request", 422)
    assert "3 rounds" in refused.value.detail


async def test_rounds_are_counted_over_replicas_and_anew_for_each_question(
    database: OwnDatabase, switch: Switch, store: Store
) -> None:
    other = ledger(Switch(database.pool()), daily=0, rounds=2)
    books = ledger(switch, daily=0, rounds=2)
    for round_ in range(2):
        await store.put([turn(caller="user:7")])
        for replica in (books, other):
            charge = await follow_up(replica)
            record = turn(question=None, caller="user:7", content=f"جولة {round_}")
            await store.put([record])
            charge.close(record)
        for replica in (books, other):
            with pytest.raises(GatewayError):
                await follow_up(replica)


async def test_only_own_rounds_of_this_conversation_count(switch: Switch, store: Store) -> None:
    books = ledger(switch, rounds=1)
    await store.put([turn(conversation="conv-2", caller="user:7")])
    await store.put([turn(conversation="conv-2", question=None, caller="user:7")])
    await store.put([turn(conversation="open", caller=None)])
    await store.put([turn(conversation="open", question=None, caller="user:8")])
    await follow_up(books)
    await follow_up(books, conversation="open")
    with pytest.raises(GatewayError):
        await follow_up(books, conversation="conv-2")
    with pytest.raises(GatewayError):
        await follow_up(books, Caller("user", "user:8"), conversation="open")
    await follow_up(books, Caller("anonymous"), conversation="open")


async def test_follow_ups_at_once_share_the_rounds(switch: Switch, store: Store) -> None:
    await store.put([turn(caller="user:7")])
    books = ledger(switch, rounds=3)
    outcomes = await asyncio.gather(*(follow_up(books) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, Charge) for outcome in outcomes) <= 3
    assert all(isinstance(outcome, Charge | GatewayError) for outcome in outcomes)


async def test_a_round_that_failed_for_nothing_is_none(switch: Switch, store: Store) -> None:
    await store.put([turn(caller="user:7")])
    books = ledger(switch, rounds=1)
    for _ in range(3):
        charge = await follow_up(books)
        record = failed(question=None, caller="user:7")
        await store.put([record])
        charge.close(record)
    charge = await follow_up(books)
    record = failed(question=None, caller="user:7", content="بعض")
    await store.put([record])
    charge.close(record)
    with pytest.raises(GatewayError):
        await follow_up(books)


async def test_without_the_database_rounds_are_counted_here(switch: Switch) -> None:
    books = ledger(switch, daily=0, rounds=2)
    switch.away = True
    for _ in range(2):
        (await question(books)).close(turn())
        (await follow_up(books)).close(failed(question=None))
        for _ in range(2):
            (await follow_up(books)).close(turn(question=None))
        with pytest.raises(GatewayError):
            await follow_up(books)


async def test_nothing_is_left_behind(switch: Switch) -> None:
    books = ledger(switch, daily=0, active=9)
    charges = [await question(books), await follow_up(books), await question(books, Caller("anonymous"))]
    for charge in charges:
        charge.close(replace(turn()))
        charge.close()
    assert not books._active
    assert not books._rounds._running
