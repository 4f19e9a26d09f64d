"""What a process tells others: everything that has become of its turns, and nothing where nothing has."""

import asyncio

from gateway.core.letters import Parcel, RelayTurn
from gateway.engine.outbox import Outbox
from tests.engine.relaying import MemoryRelay, until
from tests.engine.turns import begun


async def test_a_turn_that_was_over_at_once_is_not_mentioned() -> None:
    relay, told = MemoryRelay(), list[object]()
    outbox, known = Outbox(relay, 60, told.append), RelayTurn(begun(), "one")
    outbox.begun(known)
    outbox.ended(known.begun)
    outbox.start()
    await asyncio.sleep(0.01)
    outbox.begun(known)
    await until(lambda: bool(told))
    await outbox.close()
    assert relay.parcels == [Parcel([known], [], [])]
    assert told == [None], "an empty parcel would have said that the relay answers"
