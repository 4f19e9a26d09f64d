"""Stopping and draining: at every moment of a turn's life, and nothing left behind."""

import asyncio

import pytest

from gateway.core.errors import GatewayError
from gateway.core.events import TextDelta, ToolCalled
from tests.engine.stage import GOOD, Halt, Stage, check_stopped
from tests.engine.turns import body_of, completed, live, read_all, soon


async def test_stopped_before_the_task_has_run() -> None:
    stage = Stage(*GOOD)
    turn = stage.start()
    assert stage.engine.stop(turn)
    assert not stage.engine.stop(turn)
    await check_stopped(stage, turn, "")
    assert stage.script.made == 0


async def test_stopped_while_being_accepted() -> None:
    stage = Stage(*GOOD)
    halt = stage.log.begin_halt = Halt()
    turn = stage.start()
    await soon(halt.reached.wait())
    assert stage.engine.stop(turn)
    halt.on.set()
    await check_stopped(stage, turn, "")
    assert stage.script.made == 0


async def test_stopped_between_acceptance_and_the_call() -> None:
    stage = Stage(*GOOD)
    halt = stage.log.begin_halt = Halt()
    turn = stage.start()
    await soon(halt.reached.wait())
    halt.on.set()
    assert stage.engine.stop(turn)
    await check_stopped(stage, turn, "")


async def test_stopped_before_and_after_the_first_output() -> None:
    for steps, content in (([Halt()], ""), ([[TextDelta("نص")], Halt()], "نص")):
        halt = steps[-1]
        assert isinstance(halt, Halt)
        stage = Stage(*steps)
        turn = stage.start()
        await soon(halt.reached.wait())
        assert stage.engine.stop(turn)
        assert not stage.engine.stop(turn, status="interrupted")
        await check_stopped(stage, turn, content)


async def test_stopped_while_a_batch_is_on_its_way() -> None:
    """The stop and the next batch meet: one of them wins, and the turn still ends once."""
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt, *GOOD)
    turn = stage.start()
    await soon(halt.reached.wait())
    halt.on.set()
    assert stage.engine.stop(turn)
    await check_stopped(stage, turn, "نص")


async def test_too_late_to_stop_while_storing_and_after() -> None:
    stage = Stage(*GOOD)
    halt = stage.log.put_halt = Halt()
    turn = stage.start()
    await soon(halt.reached.wait())
    assert not stage.engine.stop(turn)
    halt.on.set()
    assert body_of(await soon(turn.ended()))["status"] == "completed"
    assert not stage.engine.stop(turn)
    await stage.over()
    assert not stage.engine.stop(turn)


async def test_too_late_to_stop_a_stopped_turn_that_is_being_stored() -> None:
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt)
    put = stage.log.put_halt = Halt()
    turn = stage.start()
    await soon(halt.reached.wait())
    assert stage.engine.stop(turn)
    await soon(put.reached.wait())
    assert not stage.engine.stop(turn)
    put.on.set()
    await check_stopped(stage, turn, "نص")


async def test_a_turn_of_another_engine_is_not_stopped() -> None:
    turn = live()
    assert not Stage().engine.stop(turn)
    turn.end(completed(turn))


async def test_the_calls_of_a_stopped_turn_may_be_answered() -> None:
    halt = Halt()
    stage = Stage([ToolCalled("call_1", "search", "{}")], halt)
    turn = stage.start()
    await soon(halt.reached.wait())
    stage.engine.stop(turn)
    await stage.over()
    assert stage.recent.issued("conv-1", "user-1") == ("call_1",)


async def test_drained_turns_may_finish() -> None:
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt, *GOOD)
    turn = stage.start()
    reading = asyncio.create_task(read_all(turn))
    await soon(halt.reached.wait())
    draining = asyncio.create_task(stage.engine.drain(60))
    await asyncio.sleep(0)
    with pytest.raises(GatewayError, match="shutting_down"):
        stage.start()
    halt.on.set()
    assert [stage.log.hurried] == [False]
    await soon(draining)
    assert stage.log.hurried
    assert (await soon(reading))[-1].data["status"] == "completed"
    await stage.over()


async def test_what_is_not_finished_in_time_is_interrupted() -> None:
    halt, accepting = Halt(), Halt()
    stage = Stage([TextDelta("نص")], halt)
    turn = stage.start()
    reading = asyncio.create_task(read_all(turn))
    await soon(halt.reached.wait())
    stage.log.begin_halt = accepting
    late = stage.start()
    await soon(accepting.reached.wait())
    draining = asyncio.create_task(stage.engine.drain(0))
    await soon(turn.ended())
    accepting.on.set()
    await soon(draining)
    failed = (await soon(reading))[-1]
    assert (failed.name, failed.data["code"], failed.data["status"], failed.data["retryable"]) == (
        "failed",
        "interrupted",
        503,
        True,
    )
    assert (await soon(late.ended())).error is not None
    assert [record.ended.status for record in stage.log.records] == ["interrupted", "interrupted"]
    assert stage.log.records[0].ended.reply.content == "نص"
    await stage.over()


async def test_a_deleted_conversation_leaves_no_trace_in_memory() -> None:
    halt = Halt()
    stage = Stage([ToolCalled("call_1", "search", "{}")], halt)
    turn, other = stage.start(), stage.start("conv-2")
    await soon(halt.reached.wait())
    stage.engine.forget_conversation("conv-1")
    await soon(turn.ended())
    assert stage.engine.find(turn.begun.turn_id) is None
    assert stage.recent.issued("conv-1", "user-1") == ()
    assert stage.engine.running_in("conv-2") == [other]
    stage.engine.stop(other)
    await stage.over()
    assert stage.engine.find(other.begun.turn_id) is other
