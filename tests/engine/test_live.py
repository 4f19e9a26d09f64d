"""Live turns: any number of readers, at any place and pace, and nothing left behind by those who go."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import Event, ReasoningDelta, Rerouted, TextDelta, ToolCalled, UsageReported
from gateway.engine.live import PIECE_BYTES, STRETCH_LIMIT, LiveTurn
from gateway.engine.reader import Reader
from gateway.wire.frames import PING, parse_event_id
from tests.core.tape_events import SEQUENCES, expected_units
from tests.engine.turns import completed, feed, live, read_all, soon, text_of
from tests.wire.client import Received, received
from tests.wire.test_frames import units


async def next_of(reader: Reader) -> bytes:
    """The reader's next frames; it must have some."""
    frames = await soon(reader.next())
    assert frames is not None
    return frames


def check_whole(turn: LiveTurn, position: int | None, events: list[Received], written: list[Event]) -> None:
    """A stream is whole: the start if asked for, the rest exactly once, one terminal event."""
    if position is None:
        assert events[0].name == "start"
        events = events[1:]
    assert [event.name for event in events].count("done") == 1
    assert events[-1].name == "done"
    assert events[-1].data["content"] == turn.fold.reply().content
    assert units(events[:-1]) == expected_units(written)[position or 0 :]


@given(
    SEQUENCES,
    st.lists(st.tuples(st.integers(0, 10), st.none() | st.integers(0, 60), st.integers(0, 3)), max_size=5),
    st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_every_reader_gets_the_rest_exactly_once(
    written: list[Event], joining: list[tuple[int, int | None, int]], pauses: list[int]
) -> None:
    async def read(turn: LiveTurn, position: int | None, pace: int) -> list[Received]:
        reader = Reader(turn, position, 60)
        data = b""
        while (frames := await reader.next()) is not None:
            data += frames
            for _ in range(pace):
                await asyncio.sleep(0)
        reader.close()
        return received(data)

    async def scene() -> None:
        turn = live()
        tasks: list[tuple[int | None, asyncio.Task[list[Received]]]] = []
        for number, event in enumerate(written):
            tasks += [(at, asyncio.create_task(read(turn, at, pace))) for when, at, pace in joining if when == number]
            feed(turn, event)
            for _ in range(pauses[number % len(pauses)]):
                await asyncio.sleep(0)
        turn.end(completed(turn))
        tasks += [(None, asyncio.create_task(read(turn, None, 0))), (0, asyncio.create_task(read(turn, 0, 1)))]
        for position, task in tasks:
            check_whole(turn, position, await soon(task), written)
        assert turn.readers == 0

    asyncio.run(scene())


async def test_frames_are_rendered_once_for_readers_that_are_level(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = live()
    readers = [Reader(turn, 0, 60) for _ in range(3)]
    feed(turn, TextDelta("مرحبا"))
    first = [await next_of(reader) for reader in readers]
    assert first[0] == first[1] == first[2]
    feed(turn, TextDelta(" بك"))
    late = Reader(turn, 2, 60)
    rest = await next_of(late)
    assert text_of(received(rest)) == "حبا بك"
    second = [await next_of(reader) for reader in readers]
    assert second[0] is second[1] is second[2]
    assert text_of(received(first[0] + second[0])) == "مرحبا بك"
    for reader in (*readers, late):
        reader.close()


async def test_a_reader_far_behind_gets_bounded_pieces_and_others_do_not_wait() -> None:
    turn = live()
    feed(turn, TextDelta("س" * (5 * STRETCH_LIMIT)))
    slow, quick = Reader(turn, 0, 60), Reader(turn, 5 * STRETCH_LIMIT, 60)
    pieces = [await next_of(slow)]
    feed(turn, TextDelta("ش"))
    assert text_of(received(await next_of(quick))) == "ش"
    turn.end(completed(turn))
    while (frames := await soon(slow.next())) is not None:
        pieces.append(frames)
    # Two bytes a character; the last event, which has the whole text once more, comes in pieces as well.
    assert max(map(len, pieces)) <= 2 * STRETCH_LIMIT + PIECE_BYTES + 1000
    events = received(b"".join(pieces))
    assert text_of(events) == "س" * (5 * STRETCH_LIMIT) + "ش"
    assert (events[-1].name, events[-1].data["content"]) == ("done", text_of(events))
    slow.close()
    quick.close()


async def test_a_position_beyond_the_end_gets_the_end_alone() -> None:
    turn = live()
    feed(turn, TextDelta("مرحبا"))
    turn.end(completed(turn))
    assert [event.name for event in await soon(read_all(turn, 999))] == ["done"]


async def test_silence_is_filled_with_pings_that_leave_nothing_behind() -> None:
    turn = live()
    reader = Reader(turn, 0, 0.001)
    for _ in range(20):
        assert await next_of(reader) == PING
    assert len(turn._waiting) == 0
    feed(turn, TextDelta("م"))
    assert text_of(received(await next_of(reader))) == "م"
    assert await next_of(reader) == PING
    reader.close()


async def test_the_timer_does_not_run_hot_while_a_slow_client_is_written_to() -> None:
    turn = live()
    reader = Reader(turn, 0, 60)
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    feed(turn, TextDelta("م"))
    await soon(waiting)
    now = asyncio.get_running_loop().time()
    reader._heard = now - 1000
    reader._beat()
    assert reader._timer is not None
    assert reader._timer.when() >= now + 60
    reader.close()


async def test_readers_that_are_cancelled_leave_nothing_behind() -> None:
    turn = live()
    for _ in range(50):
        reader = Reader(turn, 0, 60)
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        assert len(turn._waiting) == 1
        waiting.cancel()
        await asyncio.wait((waiting,))
        reader.close()
    assert (turn.readers, len(turn._waiting)) == (0, 0)


async def test_closing_ends_a_waiting_reader_and_counts_once() -> None:
    left: list[LiveTurn] = []
    turn = live(left.append)
    reader, other = Reader(turn, 0, 60), Reader(turn, 0, 60)
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    reader.close()
    reader.close()
    assert await soon(waiting) is None
    assert await soon(reader.next()) is None
    assert (turn.readers, left, len(turn._waiting)) == (1, [], 0)
    other.close()
    assert (turn.readers, left) == (0, [turn])


async def test_leaving_an_ended_turn_abandons_nothing() -> None:
    left: list[LiveTurn] = []
    turn = live(left.append)
    reader = Reader(turn, None, 60)
    turn.end(completed(turn))
    reader.close()
    assert left == []


async def test_first_output_is_what_a_client_would_miss() -> None:
    turn = live()
    waiting = asyncio.create_task(turn.first_output(60))
    feed(turn, UsageReported(1), Rerouted("retrying", "openai", "m"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    feed(turn, ReasoningDelta("ف"))
    await soon(waiting)
    first = turn.first_output_ms
    assert first is not None
    feed(turn, ToolCalled(None, "f", "{}"))
    assert turn.first_output_ms == first
    await soon(turn.first_output(0))


async def test_first_output_gives_up_in_time_and_returns_at_the_end() -> None:
    turn = live()
    await soon(turn.first_output(0))
    waiting = asyncio.create_task(turn.first_output(60))
    await asyncio.sleep(0)
    turn.end(completed(turn))
    await soon(waiting)
    assert turn.first_output_ms is None


async def test_a_cancelled_waiter_leaves_the_end_to_the_others() -> None:
    turn = live()
    first, second = asyncio.create_task(turn.ended()), asyncio.create_task(turn.ended())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    outcome = completed(turn)
    turn.end(outcome)
    assert await soon(second) is outcome
    assert await soon(turn.ended()) is outcome


async def test_a_turn_ends_once() -> None:
    turn = live()
    outcome = completed(turn)
    turn.end(outcome)
    with pytest.raises(asyncio.InvalidStateError):
        turn.end(completed(turn))
    assert turn.outcome is outcome


async def test_every_id_on_the_way_leads_to_the_rest() -> None:
    turn = live()
    feed(turn, ReasoningDelta("أفكر"), TextDelta("مرحبا 😀"), ToolCalled("call_1", "f", '{"ا": 1}'), TextDelta("بك"))
    turn.end(completed(turn))
    whole = await soon(read_all(turn))
    for number, event in enumerate(whole[:-1]):
        place = parse_event_id(event.id)
        assert place is not None
        rest = await soon(read_all(turn, place.position))
        assert [event.retry for event in rest] == [1000, *[None] * (len(rest) - 2), 0][-len(rest) :]
        assert [replace(event, retry=None) for event in rest] == [replace(event, retry=None) for event in whole[number + 1 :]]
