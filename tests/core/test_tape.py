"""The tape: positions that hold for every reader, while it grows and when it is put back from a stored reply."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import Event, Rerouted, SourceFound
from gateway.core.messages import ToolCall
from gateway.core.tape import Stretch, Tape, restore
from tests.core.tape_events import SEQUENCES, Unit, expected_units, folded, units_of

POSITIONS = st.integers(-3, 200)
CALL = ToolCall("call_1", "get_entry", {"id": 7})
SOURCE = SourceFound("web", "معجم", id="1")


def read(tape: Tape, position: int) -> list[Unit]:
    return units_of([piece for piece, _ in tape.since(position)])


@given(SEQUENCES, POSITIONS)
def test_a_reader_at_any_position_gets_the_rest(events: list[Event], position: int) -> None:
    tape = folded(events).tape
    units = expected_units(events)
    assert tape.end == len(units)
    assert read(tape, position) == units[max(0, position) :]


@given(SEQUENCES, POSITIONS)
def test_each_piece_tells_the_position_behind_it(events: list[Event], position: int) -> None:
    tape = folded(events).tape
    reached = min(max(0, position), tape.end)
    for piece, end in tape.since(position):
        reached += len(piece.text) if isinstance(piece, Stretch) else 1
        assert end == reached
    assert reached == tape.end


@given(SEQUENCES, st.lists(st.integers(0, 4), min_size=1), st.integers(1, 5))
def test_a_slow_reader_gets_everything_once_while_the_tape_grows(events: list[Event], paces: list[int], limit: int) -> None:
    fold = folded([])
    got: list[Unit] = []
    position = 0
    for number, event in enumerate(events):
        fold.add(event)
        for _ in range(paces[number % len(paces)]):
            for piece, end in fold.tape.since(position, limit):
                assert not isinstance(piece, Stretch) or 0 < len(piece.text) <= limit
                got += units_of([piece])
                position = end
                break
    assert got + read(fold.tape, position) == expected_units(events)


@given(SEQUENCES, POSITIONS, st.integers(1, 9))
def test_a_closed_tape_reads_as_before(events: list[Event], position: int, limit: int) -> None:
    tape = folded(events).tape
    before = list(tape.since(position, limit)), tape.layout(), [run.text() for run in tape.runs("text")]
    tape.close()
    tape.close()
    assert (list(tape.since(position, limit)), tape.layout(), [run.text() for run in tape.runs("text")]) == before


def test_a_run_that_is_cut_is_the_last_piece() -> None:
    tape = Tape()
    tape.write("thought", "فكر", 0)
    tape.write("text", "مرحبا", 0)
    tape.mark(CALL)
    assert list(tape.since(1, 2)) == [(Stretch("thought", "كر"), 3), (Stretch("text", "مر"), 5)]


def test_astral_characters_and_line_ends_count_one_each() -> None:
    tape = Tape()
    for piece in ("a\r", "\nب", "😀", "𐎀\r\n"):
        tape.write("text", piece, 0)
    assert tape.end == len("a\r\nب😀𐎀\r\n")
    assert list(tape.since(2)) == [(Stretch("text", "\nب😀𐎀\r\n"), 8)]
    assert [run.text() for run in tape.runs("text")] == ["a\r\nب😀𐎀\r\n"]


def test_empty_text_is_nothing() -> None:
    tape = Tape()
    tape.write("text", "", 0)
    assert (tape.end, tape.segments, tape.layout()) == (0, [], "")


def test_reading_does_not_disturb_writing() -> None:
    tape = Tape()
    for number in range(1000):
        tape.write("text", f"{number} ", 0)
        list(tape.since(tape.end - 1))
        list(tape.since(0, 3))
    assert [run.text() for run in tape.runs("text")] == ["".join(f"{number} " for number in range(1000))]


@given(SEQUENCES)
def test_a_stored_reply_gives_the_same_positions(events: list[Event]) -> None:
    fold = folded(events)
    reply = fold.reply()
    thoughts = "".join(thought.content for thought in reply.thoughts)
    tape = restore(reply.layout, reply.content, thoughts, reply.tool_calls, reply.sources)
    assert tape.end == fold.tape.end
    assert tape.layout() == reply.layout
    marks = [Rerouted("retrying", "", "") if isinstance(unit, Rerouted) else unit for unit in expected_units(events)]
    for position in range(tape.end + 1):
        assert read(tape, position) == marks[position:]


@given(st.text("tcrsx,-+0123456789 ٣²", max_size=12))
def test_any_layout_gives_back_the_whole_reply(layout: str) -> None:
    tape = restore(layout, "مرحبا", "فكر", (CALL,), (SOURCE,))
    assert "".join(run.text() for run in tape.runs("text")) == "مرحبا"
    assert "".join(run.text() for run in tape.runs("thought")) == "فكر"
    assert [item for item in tape.segments if isinstance(item, ToolCall)] == [CALL]
    assert [item for item in tape.segments if isinstance(item, SourceFound)] == [SOURCE]


def test_a_layout_that_does_not_fit_gives_the_plain_order() -> None:
    for layout in ("", "t9,r3,c,s", "t5,r3,c", "t5,r3,c,s,c", "t-1,t6,r3,c,s", "z", ",", "t,r"):
        assert restore(layout, "مرحبا", "فكر", (CALL,), (SOURCE,)).layout() == "r3,t5,c,s"
    assert restore("s,t2,x,r3,c,t3", "مرحبا", "فكر", (CALL,), (SOURCE,)).layout() == "s,t2,x,r3,c,t3"
