"""Events as they may come, in any order, and what they amount to, unit by unit."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.fold import Fold
from gateway.core.messages import ToolCall
from gateway.core.tape import Item, Stretch

Unit = tuple[str, str] | Item
"""One position on a tape: a character with the kind of its run, or an item."""

ALPHABET = st.sampled_from([*'سلام عليكم abc \n\r"\\/{}:,.', "😀", "𐎀", "\u2028", "\u200f", "é"])
TEXTS = st.text(ALPHABET, max_size=12)
ARGUMENTS: st.SearchStrategy[str | dict[str, Any]] = st.sampled_from(
    ['{"كلمة": "كتاب"}', "{}", "", "[1]", "not json", '{"a": "\\u0000"}', {"id": 7}]
)
EVENTS: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.TextDelta, TEXTS),
    st.builds(ev.ReasoningDelta, TEXTS),
    st.builds(ev.ToolCalled, st.sampled_from([None, "call_1", "call_2"]), st.sampled_from(["get_entry", "بحث"]), ARGUMENTS),
    st.builds(ev.SourceFound, st.just("web"), title=st.sampled_from(["معجم", "لسان العرب", None])),
    st.builds(ev.Rerouted, st.sampled_from(["retrying", "switched"]), st.just("openai"), st.just("m")),
    st.builds(ev.UsageReported, input_tokens=st.integers(0, 9)),
    st.just(ev.Started("m")),
)
SEQUENCES = st.lists(EVENTS, max_size=25)


def folded(events: list[ev.Event]) -> Fold:
    """A fold that took these events."""
    fold = Fold(lambda: 1.5)
    for event in events:
        fold.add(event)
    return fold


def expected_units(events: list[ev.Event]) -> list[Unit]:
    """What must stand on the tape: written down from the events alone; ids of calls are left out."""
    units: list[Unit] = []
    titles: list[str | None] = []
    for event in events:
        match event:
            case ev.TextDelta(text):
                units.extend(("text", char) for char in text)
            case ev.ReasoningDelta(text):
                units.extend(("thought", char) for char in text)
            case ev.ToolCalled(_, name, arguments):
                known = arguments if isinstance(arguments, dict) else PARSED.get(arguments)
                raw = None if known is not None else str(arguments)
                units.append(ToolCall("", name, known or {}, raw))
            case ev.SourceFound(_, title):
                if title not in titles:
                    titles.append(title)
                    units.append(replace(event, id=str(len(titles))))
            case ev.Rerouted():
                units.append(event)
            case _:
                pass
    return units


PARSED: dict[str, dict[str, Any]] = {'{"كلمة": "كتاب"}': {"كلمة": "كتاب"}, "{}": {}, "": {}, '{"a": "\\u0000"}': {"a": "\ufffd"}}


def units_of(pieces: list[Stretch | Item]) -> list[Unit]:
    """Pieces of a tape as units, ids of calls left out."""
    units: list[Unit] = []
    for piece in pieces:
        if isinstance(piece, Stretch):
            units.extend((piece.kind, char) for char in piece.text)
        else:
            units.append(replace(piece, id="") if isinstance(piece, ToolCall) else piece)
    return units
