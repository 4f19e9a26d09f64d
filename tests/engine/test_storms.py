"""Many turns, stopped, left, drained and forgotten at any moment: each ends once, and nothing is left behind."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.turn import TurnStatus
from gateway.engine.live import LiveTurn
from tests.engine.stage import GOOD, Halt, Stage, Step
from tests.engine.turns import read_all, soon, text_of
from tests.wire.client import Received

MOMENTS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


class Breath(Halt):
    """A place where others get a turn of the loop."""

    async def wait(self) -> None:
        await asyncio.sleep(0)


def with_breaths(number: int) -> list[Step]:
    steps: list[Step] = []
    for batch in GOOD:
        steps += [batch, *(Breath() for _ in range(number))]
    return steps


async def do(deed: str, stage: Stage, turn: LiveTurn, task: asyncio.Task[list[Received]]) -> None:
    match deed:
        case "stop":
            stage.engine.stop(turn)
        case "leave":
            task.cancel()
        case "drain":
            await stage.engine.drain(0)
        case "forget":
            stage.engine.forget_conversation(turn.begun.conversation_id)


@settings(max_examples=60)
@given(MOMENTS, st.sampled_from(["stop", "leave", "drain", "forget"]), st.integers(0, 3))
def test_whatever_happens_when_every_turn_ends_once(moments: list[int], deed: str, halts: int) -> None:
    async def scene() -> None:
        stage = Stage(*with_breaths(halts), abandon_s=0)
        turns = [stage.start(f"conv-{number}") for number in range(len(moments))]
        reading = [asyncio.create_task(read_all(turn)) for turn in turns]
        for moment in range(max(moments) + 1):
            await asyncio.sleep(0)
            for turn, when, task in zip(turns, moments, reading, strict=True):
                if when == moment:
                    await do(deed, stage, turn, task)
        await soon(asyncio.wait(reading))
        await stage.over()
        statuses: dict[str, TurnStatus] = {record.begun.turn_id: record.ended.status for record in stage.log.records}
        assert len(stage.log.records) == len(turns) == len(statuses)
        for turn, task in zip(turns, reading, strict=True):
            assert turn.outcome is not None
            if not task.cancelled():
                *_, last = task.result()
                assert last.name == ("failed" if statuses[turn.begun.turn_id] == "interrupted" else "done")
                if last.name == "done":
                    assert text_of(task.result()) == last.data["content"]
                    assert last.data["status"] == statuses[turn.begun.turn_id]

    asyncio.run(scene())


async def test_a_thousand_turns_cancelled_at_random_leave_nothing_behind() -> None:
    dice = random.Random(7)
    stage = Stage(*with_breaths(2), abandon_s=0)
    turns = [stage.start(f"conv-{number % 50}") for number in range(1000)]
    reading = [asyncio.create_task(read_all(turn)) for turn in turns]
    while stage.engine.active:
        for turn, task in dice.sample(list(zip(turns, reading, strict=True)), 60):
            if dice.random() < 0.5:
                stage.engine.stop(turn)
            else:
                task.cancel()
        await asyncio.sleep(0)
    await soon(asyncio.wait(reading))
    await stage.over()
    assert sorted(record.begun.turn_id for record in stage.log.records) == sorted(turn.begun.turn_id for turn in turns)
    assert {record.ended.status for record in stage.log.records} == {"completed", "stopped"}
    assert all(turn.readers == 0 and not turn._waiting for turn in turns)
