"""The engine: every turn ends in one status, in the log and for its readers, whatever breaks."""

import asyncio
from typing import Any

import pytest

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Event, Failed, Finished, ReasoningDelta, StateKept, TextDelta, ToolCalled, UsageReported
from gateway.core.messages import KeptState
from gateway.core.turn import TurnRecord
from gateway.engine import runner
from gateway.engine.live import LiveTurn
from gateway.store.base import JournalFull, Receipt
from tests.engine.stage import GOOD, Halt, Stage
from tests.engine.turns import body_of, read_all, soon, text_of
from tests.wire.client import Received

BUSY = UpstreamError(
    "provider_overloaded", "مشغول", kind="overloaded", upstream_status=529, upstream_text="secret words", retry_after=3
)


async def run(stage: Stage) -> tuple[LiveTurn, list[Received]]:
    """A turn read to its end, and nothing left of it."""
    turn = stage.start()
    events = await soon(read_all(turn))
    await stage.over()
    assert [event.name for event in events].count("done") + [event.name for event in events].count("failed") == 1
    assert events[0].name == "start"
    return turn, events


async def test_a_completed_turn() -> None:
    stage = Stage(*GOOD)
    turn, events = await run(stage)
    assert text_of(events) == "مرحبا"
    done = events[-1].data
    assert (done["status"], done["content"], done["message_id"], done["logged"]) == ("completed", "مرحبا", "1", "stored")
    assert (done["finish_reason"], done["usage"]["cost_usd"], done["usage"]["input_tokens"]) == ("stop", 0.25, 3)
    record = stage.record
    assert stage.log.begun == [turn.begun] == [record.begun]
    assert (record.ended.status, record.ended.reply.content, record.ended.error) == ("completed", "مرحبا", None)
    assert record.begun.started_ms <= (record.ended.first_output_ms or 0) <= record.ended.ended_ms
    assert stage.engine.find(turn.begun.turn_id) is turn


async def test_a_turn_is_logged_before_anything_is_asked_and_before_anybody_hears() -> None:
    stage = Stage(*GOOD)
    stage.log.begin_halt = Halt()
    turn = stage.start()
    await soon(stage.log.begin_halt.reached.wait())
    assert (stage.script.made, turn.fold.tape.end) == (0, 0)
    assert stage.engine.find(turn.begun.turn_id) is turn
    stage.log.begin_halt.on.set()
    stage.log.put_halt = Halt()
    await soon(stage.log.put_halt.reached.wait())
    assert turn.outcome is None
    stage.log.put_halt.on.set()
    assert (await soon(turn.ended())).body is not None
    await stage.over()


@pytest.mark.parametrize(
    ("steps", "code", "retryable", "kept"),
    [
        ([[Failed(BUSY)]], "provider_overloaded", True, ""),
        ([[TextDelta("نص")], [Failed(BUSY)]], "provider_overloaded", True, "نص"),
        ([[TextDelta("نص")], GatewayError("provider_rejected", "لا")], "provider_rejected", False, "نص"),
        ([[TextDelta("نص")], RuntimeError("a bug")], "internal_error", True, "نص"),
        ([[TextDelta("نص")]], "provider_error", True, "نص"),
        ([], "provider_error", True, ""),
        ([[TextDelta("x" * 200_000)], Halt()], "provider_error", False, "x" * 200_000),
    ],
)
async def test_a_failed_turn_keeps_what_had_come(
    steps: list[Any], code: str, retryable: bool, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(*steps)
    turn, events = await run(stage)
    ended = stage.record.ended
    assert (ended.status, ended.reply.content, ended.reply.finish_reason) == ("failed", kept, None)
    assert ended.error is not None
    assert (ended.error.code, ended.error.retryable) == (code, retryable)
    assert (ended.first_output_ms is not None) == bool(kept)
    failed = events[-1].data
    assert (failed["code"], failed["retryable"], failed["turn_id"]) == (code, retryable, turn.begun.turn_id)
    assert "secret" not in str(failed)
    assert text_of(events) == kept
    assert ("a bug" in caplog.text) == (code == "internal_error")


async def test_what_the_provider_said_goes_to_the_log_alone() -> None:
    stage = Stage([Failed(BUSY)])
    _, events = await run(stage)
    error = stage.record.ended.error
    assert error is not None
    assert (error.upstream_status, error.upstream, error.retry_after) == (529, "secret words", 3)
    assert events[-1].data["retry_after"] == 3


async def test_a_turn_that_takes_too_long_has_failed() -> None:
    stage = Stage([TextDelta("نص")], Halt(), turn_timeout_s=0.01)
    _, events = await run(stage)
    assert events[-1].data["code"] == "provider_timeout"
    assert stage.record.ended.reply.content == "نص"


async def test_a_whole_reply_counts_even_when_it_is_long() -> None:
    stage = Stage([TextDelta("x" * 200_000), Finished("stop")])
    await run(stage)
    assert stage.record.ended.status == "completed"


async def test_events_behind_the_terminal_one_change_nothing() -> None:
    stage = Stage(*GOOD, [TextDelta("متأخر"), Failed(BUSY)])
    await run(stage)
    assert (stage.record.ended.status, stage.record.ended.reply.content) == ("completed", "مرحبا")


@pytest.mark.parametrize(("error", "code"), [(JournalFull("full"), "overloaded"), (OSError("disk"), "log_unavailable")])
async def test_a_turn_that_cannot_be_journaled_is_not_accepted(error: Exception, code: str) -> None:
    stage = Stage(*GOOD)
    stage.log.begin_error = error
    turn, events = await run(stage)
    assert (stage.script.made, stage.log.records) == (0, [])
    assert [event.name for event in events] == ["start", "failed"]
    assert events[-1].data["code"] == code
    assert turn.outcome is not None
    assert turn.outcome.error is not None
    assert turn.outcome.error.status == 503
    assert stage.engine.find(turn.begun.turn_id) is None


async def test_readers_hear_of_the_end_even_when_nothing_can_be_stored() -> None:
    stage = Stage(*GOOD)
    stage.log.put_error = OSError("disk")
    turn, events = await run(stage)
    assert (events[-1].name, events[-1].data["code"], events[-1].data["retryable"]) == ("failed", "log_unavailable", True)
    assert turn.outcome is not None
    assert turn.outcome.ended is None


async def test_neither_prices_nor_watchers_can_lose_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    stage = Stage(*GOOD, price=broken)
    stage.engine.on_begun.append(broken)
    stage.engine.on_ended.append(broken)
    _, events = await run(stage)
    assert (events[-1].name, stage.record.ended.cost_usd) == ("done", None)
    assert caplog.text.count("RuntimeError") >= 3


async def test_watchers_hear_of_a_turn_in_order() -> None:
    heard: list[tuple[Any, ...]] = []

    def begun(turn: LiveTurn) -> None:
        heard.append(("begun", turn.fold.tape.end))

    def ended(turn: LiveTurn, record: TurnRecord, receipt: Receipt) -> None:
        heard.append(("ended", turn.outcome is not None, record, receipt))

    stage = Stage(*GOOD)
    stage.engine.on_begun.append(begun)
    stage.engine.on_ended.append(ended)
    await run(stage)
    assert heard == [("begun", 0), ("ended", True, stage.record, Receipt("conv-1", 1))]


async def test_what_has_come_is_saved_while_the_provider_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PROGRESS_S", 0.001)
    halt = Halt()
    stage = Stage([ReasoningDelta("فكر")], [TextDelta("نص")], halt, *GOOD)
    turn = stage.start()
    await soon(halt.reached.wait())
    await soon(stage.log.told.wait())
    assert stage.log.progressed[-1].content == "نص"
    assert stage.log.progressed[-1].thoughts[0].content == "فكر"
    halt.on.set()
    await soon(turn.ended())
    await stage.over()


async def test_of_a_lone_turn_little_is_unsaved() -> None:
    halt = Halt()
    stage = Stage([TextDelta("نص")], halt, *GOOD)
    turn = stage.start()
    await soon(halt.reached.wait())
    timer = stage.engine._runs[turn.begun.turn_id].unsaved
    assert stage.log.told.is_set() or (timer is not None and timer.when() <= asyncio.get_running_loop().time() + 0.05)
    halt.on.set()
    await soon(turn.ended())
    await stage.over()


async def test_nothing_is_saved_of_a_turn_that_is_being_stored() -> None:
    stage = Stage(*GOOD)
    halt = stage.log.put_halt = Halt()
    turn = stage.start()
    await soon(halt.reached.wait())
    timer = stage.engine._runs[turn.begun.turn_id].unsaved
    assert timer is not None
    assert timer.cancelled()
    halt.on.set()
    await stage.over()


async def test_calls_and_their_state_are_remembered_for_the_follow_up() -> None:
    calls: list[Event] = [ToolCalled("call_1", "search", '{"q": "كتب"}'), StateKept({"s": 1}), Finished("stop")]
    stage = Stage(calls)
    stage.log.receipt = Receipt("conv-moved", 7)
    _, events = await run(stage)
    assert stage.recent.issued("conv-moved", "user-1") == ("call_1",)
    assert stage.recent.states("conv-moved", ["call_1"]) == ({"call_1": KeptState("openai", "m", {"s": 1})}, [])
    assert (events[-1].data["conversation_id"], events[-1].data["finish_reason"]) == ("conv-moved", "tool_calls")


async def test_a_failed_turns_calls_are_not_open() -> None:
    stage = Stage([ToolCalled("call_1", "search", "{}")], [Failed(BUSY)])
    await run(stage)
    assert stage.recent.issued("conv-1", "user-1") == ()


async def test_a_spooled_turn_says_so() -> None:
    stage = Stage(*GOOD)
    stage.log.receipt = Receipt("conv-1", None)
    turn = stage.start()
    body = body_of(await soon(turn.ended()))
    assert (body["message_id"], body["logged"], body["content"]) == (None, "spooled", "مرحبا")
    await stage.over()


async def test_no_more_turns_than_allowed() -> None:
    halt = Halt()
    stage = Stage(halt, *GOOD, max_active_turns=2)
    turns = [stage.start(), stage.start()]
    with pytest.raises(GatewayError, match="overloaded"):
        stage.start()
    halt.on.set()
    for turn in turns:
        await soon(turn.ended())
    stage.start()
    await stage.over()
    assert len(stage.log.records) == 3


async def test_running_turns_are_found_by_conversation() -> None:
    halt = Halt()
    stage = Stage(halt, *GOOD)
    first, second, other = stage.start(), stage.start(), stage.start("conv-2")
    assert stage.engine.running_in("conv-1") == [first, second]
    assert stage.engine.running_in("conv-2") == [other]
    assert stage.engine.running_in("conv-3") == []
    halt.on.set()
    await stage.over()
    assert stage.engine.running_in("conv-1") == []


async def test_usage_alone_wakes_nobody() -> None:
    halt = Halt()
    stage = Stage([UsageReported(1, 1)], halt, *GOOD)
    turn = stage.start()
    await soon(halt.reached.wait())
    assert turn.first_output_ms is None
    halt.on.set()
    await soon(turn.ended())
    await stage.over()
