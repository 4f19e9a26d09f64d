"""The reply as one ordered tape: text and reasoning runs, tool calls, sources, status marks.

A position on the tape is one integer: every character of a run and every other item counts one. It is what event ids hold,
so a reader can go on from any event, in memory or from the stored turn, without the gateway keeping single events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core.events import Rerouted, SourceFound
from gateway.core.messages import ToolCall

RunKind = Literal["text", "thought"]
_COMPACT_AT = 128
_MARKS = {ToolCall: "c", SourceFound: "s", Rerouted: "x"}
_RUN_MARKS: dict[RunKind, str] = {"text": "t", "thought": "r"}

Item = ToolCall | SourceFound | Rerouted


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a run as a reader gets it."""

    kind: RunKind
    text: str


class Run:
    """Consecutive text of one kind, kept as the pieces it came in; `started_ms` is when it began (Unix milliseconds)."""

    __slots__ = ("kind", "length", "pieces", "started_ms")

    def __init__(self, kind: RunKind, text: str, started_ms: int) -> None:
        self.kind: RunKind = kind
        self.pieces = [text]
        self.length = len(text)
        self.started_ms = started_ms

    def append(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)
        if len(self.pieces) > _COMPACT_AT:
            self.pieces = ["".join(self.pieces)]

    def text(self) -> str:
        """The whole run."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0]

    def tail(self, offset: int) -> str:
        """The run from character `offset` on, without joining what lies before it."""
        wanted = self.length - offset
        taken: list[str] = []
        for piece in reversed(self.pieces):
            if wanted <= len(piece):
                taken.append(piece[len(piece) - wanted :])
                break
            taken.append(piece)
            wanted -= len(piece)
        taken.reverse()
        return "".join(taken)


class Tape:
    """Append-only; `end` is the position behind the last item."""

    __slots__ = ("end", "segments")

    def __init__(self) -> None:
        self.segments: list[Run | Item] = []
        self.end = 0

    def write(self, kind: RunKind, text: str, now_ms: int) -> None:
        """Append text to the last run of its kind, or begin a new run."""
        last = self.segments[-1] if self.segments else None
        if isinstance(last, Run) and last.kind == kind:
            last.append(text)
        else:
            self.segments.append(Run(kind, text, now_ms))
        self.end += len(text)

    def mark(self, item: Item) -> None:
        """Append an item that counts one."""
        self.segments.append(item)
        self.end += 1

    def since(self, position: int) -> Iterator[tuple[Stretch | Item, int]]:
        """Yield what stands behind `position`, each with the position at its end."""
        start = self.end
        index = len(self.segments)
        while index and start > position:
            index -= 1
            start -= _length(self.segments[index])
        for segment in self.segments[index:]:
            end = start + _length(segment)
            if end > position:
                if isinstance(segment, Run):
                    yield Stretch(segment.kind, segment.tail(max(0, position - start))), end
                else:
                    yield segment, end
            start = end

    def runs(self, kind: RunKind) -> Iterator[Run]:
        """The runs of one kind, in order."""
        return (segment for segment in self.segments if isinstance(segment, Run) and segment.kind == kind)

    def layout(self) -> str:
        """The order and lengths of what is on the tape, such as `r30,t120,c,c`: with the stored text it gives the tape back."""
        return ",".join(
            f"{_RUN_MARKS[segment.kind]}{segment.length}" if isinstance(segment, Run) else _MARKS[type(segment)]
            for segment in self.segments
        )


def _length(segment: Run | Item) -> int:
    return segment.length if isinstance(segment, Run) else 1


def restore(
    layout: str,
    text: str,
    thoughts: str,
    calls: Sequence[ToolCall],
    sources: Sequence[SourceFound],
) -> Tape:
    """Rebuild a tape from a stored reply; status marks come back as marks without content.

    A layout that does not fit the texts (a row edited by hand, an older database) gives the plain order: thoughts, text,
    calls, sources.
    """
    marks = layout.split(",") if layout else []
    if _fits(marks, len(text), len(thoughts), len(calls), len(sources)):
        return _restore(marks, text, thoughts, calls, sources)
    plain = [f"r{len(thoughts)}"] * bool(thoughts) + [f"t{len(text)}"] * bool(text)
    return _restore(plain + ["c"] * len(calls) + ["s"] * len(sources), text, thoughts, calls, sources)


def _fits(marks: list[str], text: int, thoughts: int, calls: int, sources: int) -> bool:
    try:
        lengths = {kind: sum(int(mark[1:]) for mark in marks if mark[0] == kind) for kind in "tr"}
    except (ValueError, IndexError):
        return False
    known = all(mark[0] in "tr" or mark in ("c", "s", "x") for mark in marks)
    counts = (lengths["t"], lengths["r"], marks.count("c"), marks.count("s"))
    return known and counts == (text, thoughts, calls, sources)


def _restore(marks: list[str], text: str, thoughts: str, calls: Sequence[ToolCall], sources: Sequence[SourceFound]) -> Tape:
    tape = Tape()
    taken = {"t": 0, "r": 0}
    texts: dict[str, tuple[RunKind, str]] = {"t": ("text", text), "r": ("thought", thoughts)}
    items: dict[str, Iterator[Item]] = {"c": iter(calls), "s": iter(sources)}
    for mark in marks:
        if mark[0] in texts:
            kind, whole = texts[mark[0]]
            start = taken[mark[0]]
            taken[mark[0]] = start + int(mark[1:])
            tape.write(kind, whole[start : taken[mark[0]]], 0)
        elif mark == "x":
            tape.mark(Rerouted("retrying", "", ""))
        else:
            tape.mark(next(items[mark]))
    return tape
