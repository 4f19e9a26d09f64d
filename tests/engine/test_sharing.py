"""Turns shared between processes: whatever becomes of single letters, every reader gets all of it once, and an end."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway.core.events import Event, Finished, ReasoningDelta, SourceFound, TextDelta, ToolCalled
from gateway.core.letters import Forget, TapeGrown, TurnOver, TurnUnknown
from gateway.core.turn import TurnEnded, TurnRecord
from gateway.engine import following, link, outbox, sharing
from gateway.engine.live import LiveTurn
from gateway.engine.reader import Reader
from gateway.engine.records import INTERRUPTED
from gateway.engine.runner import Engine
from gateway.store.base import Store, StoredTurn
from tests.engine.relaying import MemoryRelay, Process, Run, Shelf, processes, until
from tests.engine.stage import GOOD, Halt, Step
from tests.engine.turns import read_all, soon, text_of

PART: Step = [TextDelta("الكتابُ ")]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes hundredths of them here."""
    monkeypatch.setattr(link, "PULSE_S", 0.02)
    monkeypatch.setattr(link, "_RETRY_S", 0.01)
    monkeypatch.setattr(outbox, "RETRY_S", 0.01)
    monkeypatch.setattr(outbox, "BATCH_S", 0.001)
    monkeypatch.setattr(sharing, "_RETRY_S", 0.01)
    monkeypatch.setattr(following, "SILENT_S", 0.05)


@pytest.fixture
def relay() -> MemoryRelay:
    return MemoryRelay()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def run(relay: MemoryRelay, shelf: Shelf) -> AsyncIterator[Run]:
    async with processes(relay, cast("Store", shelf)) as run:
        yield run


def steps(chance: random.Random) -> list[Step]:
    """A reply with everything in it, in batches, with moments to breathe."""
    found: list[Step] = []
    for number in range(chance.randrange(1, 25)):
        events: list[Event] = [
            TextDelta("سلام 🙂 " * chance.randrange(1, 9)),
            ReasoningDelta("أفكّر… "),
            ToolCalled(f"call_{number}", "بحث", '{"كلمة": "كتاب"}'),
            SourceFound("web", title=f"معجم {number}"),
        ]
        found.append([chance.choice(events)])
    return [*found, [Finished("stop")]]


@pytest.mark.parametrize("seed", range(25))
async def test_letters_may_be_lost_doubled_or_half_sent(relay: MemoryRelay, shelf: Shelf, run: Run, seed: int) -> None:
    chance = relay.chance = random.Random(seed)
    relay.half_done = chance.choice((0, 0.2))
    relay.lost = chance.choice((0, 0.2, 0.5))
    relay.twice = chance.choice((0, 0.3))
    halts = [Halt(), Halt()]
    reply = steps(chance)
    for halt, place in zip(halts, sorted(chance.randrange(len(reply)) for _ in halts), strict=True):
        reply.insert(place + halts.index(halt), halt)
    here, there = run(*reply), run()
    turn = here.stage.start()
    first = asyncio.create_task(read_all(await there.find(turn)))
    for halt in halts:
        await soon(halt.reached.wait())
        halt.on.set()
    found = await there.find(turn)
    second = asyncio.create_task(read_all(found))
    await soon(turn.ended())
    # What the log has in the end helps those whose last letters were lost, as in life.
    shelf.stored[turn.begun.turn_id] = StoredTurn(here.stage.record, 1)
    original = await soon(read_all(turn))
    for read in (await soon(first), await soon(second)):
        assert [event.name for event in read if event.name in ("start", "done", "failed")] == ["start", "done"]
        assert text_of(read) == text_of(original)
        assert read[-1] == original[-1]
        for name in ("tool_call", "source"):
            assert [event.data for event in read if event.name == name] == [e.data for e in original if e.name == name]


async def test_nothing_is_sent_while_nobody_follows(relay: MemoryRelay, run: Run) -> None:
    halt = Halt()
    here, _ = run(PART, halt, *GOOD), run()
    turn = here.stage.start()
    await soon(halt.reached.wait())
    await until(lambda: turn.begun.turn_id in relay.turns)
    halt.on.set()
    await soon(turn.ended())
    await until(lambda: turn.begun.turn_id in relay.ended)
    assert [letter for parcel in relay.parcels for letter in parcel.letters] == []
    assert [known.begun.turn_id for parcel in relay.parcels for known in parcel.begun] == [turn.begun.turn_id]


async def followed(here: Process, there: Process, halt: Halt) -> tuple[LiveTurn, LiveTurn, Reader]:
    """A turn that has come to its halt, and a reader of it in the other process who has what there is."""
    turn = here.stage.start()
    await soon(halt.reached.wait())
    found = await there.find(turn)
    reader = Reader(found, 0, 60)
    await soon(reader.next())
    return turn, found, reader


async def test_a_follower_is_a_reader(run: Run) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    assert turn.readers == 1
    second = Reader(found, None, 60)
    assert turn.readers == 1
    reader.close()
    await asyncio.sleep(0.05)
    assert turn.readers == 1
    second.close()
    await until(lambda: turn.readers == 0)
    assert await there.find(turn) is found, "kept as long as somebody holds it"
    back = Reader(found, 0, 60)
    await until(lambda: turn.readers == 1)
    halt.on.set()
    assert text_of(await soon(read_all(found, 0))) == "الكتابُ مرحبا"
    back.close()


async def test_a_follower_that_falls_silent_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "FOLLOWER_S", 0.1)
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, _, reader = await followed(here, there, halt)
    await there.link.close()  # as when it is killed
    await until(lambda: turn.readers == 0)
    reader.close()


async def test_a_relay_that_forgets_is_told_again(relay: MemoryRelay, run: Run) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    relay.forget_everything()
    await until(lambda: turn.begun.turn_id in relay.turns)
    assert [known.begun.turn_id for known in await relay.running("conv-1")] == [turn.begun.turn_id]
    halt.on.set()
    rest = asyncio.create_task(read_all(found, 8))
    assert text_of(await soon(rest)) == "مرحبا"
    reader.close()


async def test_a_turn_its_process_knows_no_more(relay: MemoryRelay, shelf: Shelf, run: Run) -> None:
    """It is found in the log; where it is not there either, its readers are told."""
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    relay.put(there.link.process, TurnUnknown(turn.begun.turn_id))
    read = await soon(read_all(found, 0))
    assert (read[-1].name, read[-1].data["code"], read[-1].data["retryable"]) == ("failed", "log_unavailable", True)
    reader.close()

    found = await there.find(turn)
    waiting = asyncio.create_task(read_all(found))
    await until(lambda: found.fold.tape.end > 0)
    halt.on.set()
    await soon(turn.ended())
    shelf.stored[turn.begun.turn_id] = StoredTurn(here.stage.record, 1)
    relay.put(there.link.process, TurnUnknown(turn.begun.turn_id))
    assert text_of(await soon(waiting)) == "الكتابُ مرحبا"


@pytest.mark.parametrize("recovered", [True, False])
async def test_a_turn_whose_process_died(
    relay: MemoryRelay, shelf: Shelf, run: Run, monkeypatch: pytest.MonkeyPatch, recovered: bool
) -> None:
    monkeypatch.setattr(following, "ORPHAN_S", 10.0 if recovered else 0.05)
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    await here.link.close()
    relay.alive_now.discard(here.link.process)
    if recovered:
        ended = TurnEnded("interrupted", "openai", "m", turn.fold.reply(), 2, error=INTERRUPTED)
        shelf.stored[turn.begun.turn_id] = StoredTurn(TurnRecord(turn.begun, ended), 1)
    read = await soon(read_all(found, 0))
    assert (read[-1].name, read[-1].data["code"], read[-1].data["retryable"]) == ("failed", "interrupted", True)
    assert text_of(read) == "الكتابُ "
    assert await there.following.running_in("conv-1") == []
    reader.close()


async def test_a_turn_whose_process_ended_when_it_had_just_been_found(
    shelf: Shelf, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads the letter that asks for it: its reader is given what the log has, and does not wait for a silence."""
    monkeypatch.setattr(following, "SILENT_S", 3600)
    monkeypatch.setattr(link, "PULSE_S", 3600)
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn = here.stage.start()
    await soon(halt.reached.wait())
    found = await there.find(turn)
    halt.on.set()
    await soon(turn.ended())
    shelf.stored[turn.begun.turn_id] = StoredTurn(here.stage.record, 1)
    await soon(here.close())
    assert text_of(await soon(read_all(found))) == "الكتابُ مرحبا"


async def test_a_turn_that_could_not_be_logged(run: Run) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    here.stage.log.put_error = RuntimeError("no")
    _, found, reader = await followed(here, there, halt)
    halt.on.set()
    read = await soon(read_all(found, 0))
    assert (read[-1].name, read[-1].data["code"]) == ("failed", "log_unavailable")
    assert found.outcome is not None
    assert found.outcome.ended is None
    reader.close()


async def test_what_is_deleted_here_stops_there(relay: MemoryRelay, run: Run) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    other = here.stage.start("conv-2")
    await until(lambda: len(here.sharing._running) == 2)
    await soon(there.sharing.forget_conversation("conv-1", None))
    assert (await soon(read_all(found, 0)))[-1].data["status"] == "stopped"
    assert other.outcome is None
    await soon(there.sharing.forget_caller("user-1"))
    await soon(other.ended())
    await until(lambda: len(relay.ended) == 2)
    assert [await there.following.running_in(name) for name in ("conv-1", "conv-2")] == [[], []]
    reader.close()
    assert turn.readers == 0


async def test_what_cannot_be_read_or_done_breaks_nothing(
    relay: MemoryRelay, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    relay.put(there.link.process, None)
    relay.put(there.link.process, TapeGrown(turn.begun.turn_id, 0, b"not json"))
    relay.put(there.link.process, TurnOver("unknown", 3))

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forget_conversation", broken)
        relay.put(here.link.process, Forget("conv-1", None))
        await until(lambda: caplog.text.count("could not be") == 3)
    halt.on.set()
    assert text_of(await soon(read_all(found, 0))) == "الكتابُ مرحبا"
    reader.close()


async def test_an_end_that_comes_while_the_relay_is_away(relay: MemoryRelay, run: Run) -> None:
    halt = Halt()
    here, there = run(PART, halt, *GOOD), run()
    turn, found, reader = await followed(here, there, halt)
    relay.away = True
    halt.on.set()
    await soon(turn.ended())
    await until(lambda: not here.link.up and not there.link.up)
    reading = asyncio.create_task(read_all(found, 0))
    relay.away = False
    assert text_of(await soon(reading)) == "الكتابُ مرحبا"
    assert here.link.up
    assert there.link.up
    reader.close()
