"""Idempotency keys: one turn a key, joined while it runs, replayed when it has ended, free when it failed for the moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Failed
from gateway.core.turn import TurnEnded, TurnRecord
from gateway.engine.idempotency import Keys
from gateway.engine.live import LiveTurn
from gateway.engine.lookup import Lookup, Mine
from gateway.engine.replay import replay
from gateway.store.base import Claim, StoredTurn, StoreUnavailable
from tests.core.tape_events import folded
from tests.engine.stage import GOOD, Halt, Stage, Step
from tests.engine.turns import begun, soon

BUSY = UpstreamError("provider_overloaded", "مشغول", kind="overloaded")


class Claims:
    """Claims in memory; `away` makes every call fail."""

    def __init__(self) -> None:
        self.bound: dict[tuple[str | None, str], Claim] = {}
        self.away = False

    async def claim(self, caller: str | None, key: str, wanted: Claim, instead_of: str | None = None) -> Claim:
        self._check()
        held = self.bound.get((caller, key))
        if held is None or held.turn_id == instead_of:
            self.bound[caller, key] = wanted
        return self.bound[caller, key]

    async def claimed(self, caller: str | None, key: str) -> Claim | None:
        self._check()
        return self.bound.get((caller, key))

    async def unclaim(self, caller: str | None, key: str, turn_id: str) -> None:
        self._check()
        if self.bound.get((caller, key), Claim("", "")).turn_id == turn_id:
            del self.bound[caller, key]

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable


class Place:
    """A process with keys; `elsewhere` holds turns that other processes run or stored."""

    def __init__(self, *steps: Step) -> None:
        self.stage = Stage(*(steps or GOOD))
        self.claims = Claims()
        self.elsewhere: dict[str, LiveTurn] = {}
        self.begun: list[str] = []
        self.trouble: GatewayError | None = None
        self.keys = Keys(self.claims, cast("Lookup", self))

    async def find(self, turn_id: str, mine: Mine) -> LiveTurn:
        turn = self.stage.engine.find(turn_id) or self.elsewhere.get(turn_id)
        if self.trouble is not None and turn is None:
            raise self.trouble
        if turn is None or not mine(turn.begun.caller):
            raise GatewayError("not_found", "لا")
        return turn

    async def begin(self, turn_id: str) -> LiveTurn:
        self.begun.append(turn_id)
        return self.stage.start(turn_id=turn_id)

    async def open(
        self, key: str = "k", request_hash: str = "hash", begin: Callable[[str], Awaitable[LiveTurn]] | None = None
    ) -> LiveTurn:
        return await soon(self.keys.open("user-1", key, request_hash, begin or self.begin))


async def test_a_key_is_one_turn_while_it_runs_and_when_it_has_ended() -> None:
    halt = Halt()
    place = Place(halt, *GOOD)
    first, second = await asyncio.gather(place.open(), place.open())
    assert first is second
    assert await soon(place.keys.find("user-1", "k")) is first
    halt.on.set()
    await soon(first.ended())
    await place.stage.over()
    assert await place.open() is first
    assert await soon(place.keys.find("user-1", "k")) is first
    assert place.begun == [first.begun.turn_id]


async def test_other_callers_and_other_keys_are_other_turns() -> None:
    place = Place()
    first, second = await place.open("k1"), await place.open("k2")
    third = await soon(place.keys.open("user-2", "k1", "hash", place.begin))
    assert len({turn.begun.turn_id for turn in (first, second, third)}) == 3
    await place.stage.over()


@pytest.mark.parametrize("known_here", [True, False])
async def test_another_request_under_the_same_key_is_refused(known_here: bool) -> None:
    place = Place()
    turn = await place.open()
    await soon(turn.ended())
    keys = place.keys if known_here else Keys(place.claims, cast("Lookup", place))
    with pytest.raises(GatewayError, match="idempotency_mismatch"):
        await keys.open("user-1", "k", "another", place.begin)
    assert await soon(keys.open("user-1", "k", "hash", place.begin)) is turn
    await place.stage.over()


@pytest.mark.parametrize("known_here", [True, False])
async def test_a_failure_that_may_pass_frees_the_key(known_here: bool) -> None:
    place = Place([Failed(BUSY)])
    first = await place.open()
    await soon(first.ended())
    await place.stage.over()
    place.stage.engine.draining = False
    keys = place.keys if known_here else Keys(place.claims, cast("Lookup", place))
    second = await soon(keys.open("user-1", "k", "another", place.begin))
    assert second is not first
    assert place.claims.bound["user-1", "k"].turn_id == second.begun.turn_id
    await place.stage.over()


async def test_a_request_refused_before_it_is_accepted_keeps_no_key() -> None:
    place = Place()

    async def refuse(_: str) -> LiveTurn:
        raise GatewayError("overloaded", "لا")

    for _ in range(2):
        with pytest.raises(GatewayError, match="overloaded"):
            await place.open(begin=refuse)
    assert place.claims.bound == {}
    assert await place.open() is await place.open()
    await place.stage.over()


async def test_a_waiter_that_hangs_up_takes_nothing_from_the_others() -> None:
    place = Place()
    halt = Halt()

    async def begin(turn_id: str) -> LiveTurn:
        await halt.wait()
        return await place.begin(turn_id)

    first, second = asyncio.create_task(place.open(begin=begin)), asyncio.create_task(place.open(begin=begin))
    await soon(halt.reached.wait())
    first.cancel()
    await asyncio.wait((first,))
    closing = asyncio.create_task(place.keys.settle())
    halt.on.set()
    assert (await soon(second)).begun.turn_id == place.begun[0]
    await soon(closing)
    await place.stage.over()


async def test_a_turn_of_another_process_is_looked_for_anew_each_time() -> None:
    """What is followed is followed only while somebody reads it: yesterday's find may be dead by now."""
    place = Place()
    there = begun()
    place.claims.bound["user-1", "k"] = Claim(there.turn_id, "hash")
    ended = TurnEnded("completed", "openai", "m", folded([]).reply(), 2)
    for _ in range(3):
        turn = place.elsewhere[there.turn_id] = _of_user(replay(StoredTurn(TurnRecord(there, ended), 7)))
        assert await place.open() is turn
    assert place.begun == []


def _of_user(turn: LiveTurn) -> LiveTurn:
    object.__setattr__(turn.begun, "caller", "user-1")
    return turn


async def test_a_key_of_a_turn_that_never_came_to_be_is_free() -> None:
    place = Place()
    place.claims.bound["user-1", "k"] = Claim(begun().turn_id, "another")
    turn = await place.open()
    assert place.begun == [turn.begun.turn_id]
    await place.stage.over()


async def test_a_turn_that_cannot_be_reached_now_is_not_begun_twice() -> None:
    place = Place()
    place.claims.bound["user-1", "k"] = Claim(begun().turn_id, "hash")
    place.trouble = GatewayError("turn_elsewhere", "لا")
    with pytest.raises(GatewayError, match="turn_elsewhere"):
        await place.open()
    with pytest.raises(GatewayError, match="turn_elsewhere"):
        await soon(place.keys.find("user-1", "k"))
    assert place.begun == []


async def test_a_key_that_another_process_gave_back_is_free() -> None:
    """It could not begin the turn that was waited for here, as it is ending."""
    place = Place()

    class Waiting:
        async def find(self, turn_id: str, mine: Mine) -> LiveTurn:
            await place.claims.unclaim("user-1", "k", turn_id)
            raise GatewayError("turn_elsewhere", "لا")

    place.claims.bound["user-1", "k"] = Claim(begun().turn_id, "hash")
    keys = Keys(place.claims, cast("Lookup", Waiting()))
    turn = await soon(keys.open("user-1", "k", "hash", place.begin))
    assert place.begun == [turn.begun.turn_id]
    await place.stage.over()


async def test_while_the_log_is_away_keys_hold_in_this_process() -> None:
    place = Place()
    place.claims.away = True
    turn = await place.open()
    assert await place.open() is turn
    await soon(turn.ended())
    assert await place.open() is turn
    with pytest.raises(GatewayError, match="log_unavailable"):
        await place.keys.find("user-1", "another")
    await place.stage.over()
    place.stage.engine.forget_conversation("conv-1", None)
    with pytest.raises(GatewayError, match="turn_elsewhere"):
        await place.open()
    assert len(place.begun) == 1


async def test_a_key_is_joined_without_being_claimed() -> None:
    place = Place()
    assert await place.keys.join("user-1", "k", "hash") is None
    assert place.claims.bound == {}
    turn = await place.open()
    assert await place.keys.join("user-1", "k", "hash") is turn
    with pytest.raises(GatewayError, match="idempotency_mismatch"):
        await place.keys.join("user-1", "k", "another")
    place.trouble = GatewayError("turn_elsewhere", "لا")
    place.claims.bound["user-1", "far"] = Claim("elsewhere", "hash")
    with pytest.raises(GatewayError, match="turn_elsewhere"):
        await place.keys.join("user-1", "far", "hash")
    place.claims.away = True
    assert await place.keys.join("user-1", "k2", "hash") is None
    await place.stage.over()
