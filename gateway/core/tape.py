"""The reply as one ordered tape: text and reasoning runs, tool calls, sources, status marks.

A position on the tape is one integer: every character of a run and every other item counts one. It is what event ids hold,
so a reader can go on from any event, in memory or from the stored turn, without the gateway keeping single events.
"""

import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final, Literal

from gateway.core.events import Rerouted, SourceFound
from gateway.core.messages import ToolCall
from gateway.core.value import value

RunKind = Literal["text", "thought"]
_MARKS: Final = {ToolCall: "c", SourceFound: "s", Rerouted: "x"}
_RUN_MARKS: Final[dict[RunKind, str]] = {"text": "t", "thought": "r"}

Item = ToolCall | SourceFound | Rerouted


@value
class Stretch:
    """A piece of a run as a reader gets it."""

    kind: RunKind
    text: str


class Run:
    """Consecutive text of one kind; `length` is in characters, `started_ms` when it began (Unix milliseconds)."""

    __slots__ = ("_growing", "_whole", "kind", "length", "started_ms")

    def __init__(self, kind: RunKind, text: str, started_ms: int) -> None:
        self.kind: RunKind = kind
        self.length = len(text)
        self.started_ms = started_ms
        self._whole = text
        self._growing: StringIO | None = None

    def append(self, text: str) -> None:
        """Write text behind what is there."""
        if self._growing is None:
            # The only text in the standard library that grows and is read from any character on without being copied whole.
            self._growing = StringIO()
            self._growing.write(self._whole)
            self._whole = ""
        self._growing.write(text)
        self.length += len(text)

    def close(self) -> None:
        """Nothing follows: keep the text as it is given out (what grows takes four bytes a character, and is a second copy)."""
        if self._growing is not None:
            self._whole, self._growing = self._growing.getvalue(), None

    def text(self) -> str:
        """The whole run."""
        return self._whole if self._growing is None else self._growing.getvalue()

    def slice(self, offset: int, limit: int) -> str:
        """At most `limit` characters from `offset` on."""
        growing = self._growing
        if growing is None:
            return self._whole[offset : offset + limit]
        growing.seek(offset)
        piece = growing.read(limit)
        growing.seek(self.length)
        return piece


class Tape:
    """Append-only; `end` is the position behind the last item."""

    __slots__ = ("_open", "end", "segments")

    def __init__(self) -> None:
        self.segments: list[Run | Item] = []
        self.end = 0
        self._open: Run | None = None

    def extend(self, kind: RunKind, text: str) -> bool:
        """Append text to the last run if it is of this kind; False when a new run has to begin."""
        run = self._open
        if run is None or run.kind != kind:
            return False
        run.append(text)
        self.end += len(text)
        return True

    def write(self, kind: RunKind, text: str, now_ms: int) -> None:
        """Append text to the last run if it is of this kind, else begin a new run at `now_ms`; empty text is nothing."""
        if text and not self.extend(kind, text):
            self._open = Run(kind, text, now_ms)
            self.segments.append(self._open)
            self.end += len(text)

    def mark(self, item: Item) -> None:
        """Append an item that counts one."""
        self.segments.append(item)
        self._open = None
        self.end += 1

    def close(self) -> None:
        """Nothing follows."""
        self._open = None
        for segment in self.segments:
            if isinstance(segment, Run):
                segment.close()

    def run_from(self, position: int) -> Run | None:
        """The last run, where all that stands behind `position` is of it."""
        run = self._open
        return run if run is not None and self.end - run.length <= position < self.end else None

    def since(self, position: int, limit: int = sys.maxsize) -> Iterator[tuple[Stretch | Item, int]]:
        """Yield what stands behind `position`, each with the position at its end.

        Of a run at most `limit` characters are given; nothing follows one that was cut.
        """
        start = self.end
        index = len(self.segments)
        while index and start > position:
            index -= 1
            start -= _length(self.segments[index])
        position = max(position, start)
        for segment in self.segments[index:]:
            end = start + _length(segment)
            if isinstance(segment, Run):
                text = segment.slice(position - start, limit)
                position += len(text)
                yield Stretch(segment.kind, text), position
                if position < end:
                    return
            else:
                position = end
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
    if not _fits(marks, len(text), len(thoughts), len(calls), len(sources)):
        marks = [f"r{len(thoughts)}", f"t{len(text)}", *("c" for _ in calls), *("s" for _ in sources)]
    return _restore(marks, text, thoughts, calls, sources)


def _fits(marks: list[str], text: int, thoughts: int, calls: int, sources: int) -> bool:
    lengths = {"t": 0, "r": 0}
    for mark in marks:
        kind, length = mark[:1], mark[1:]
        if kind in lengths and length.isdecimal():
            lengths[kind] += int(length)
        elif mark not in ("c", "s", "x"):
            return False
    return (lengths["t"], lengths["r"], marks.count("c"), marks.count("s")) == (text, thoughts, calls, sources)


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
    tape.close()
    return tape
