"""Charts as inline SVG: the geometry here, the markup in `templates/charts.html`.

A drawing is 100 high and 10 wide for each step, stretched to the place it gets; its words stand around it, in HTML.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.web.pages.formats import number

HEIGHT: Final = 100.0
STEP: Final = 10.0
_GAP: Final = 1.6
_TOP: Final = 0.96

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """A name, the class that gives it its colour, and one value a step."""

    name: str
    tone: str
    values: Values


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a stacked bar, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as the path of a line, interrupted where it has no value."""

    path: str
    tone: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with all that its figure shows; `total` stands beside the title, `rows` are its table."""

    id: str
    title: str
    total: str
    width: float
    top: str
    middle: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    written: Callable[[float | None], str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.bars and not self.lines

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Each step that has something, and what every series has there."""
        steps = [(label, [one.values[step] for one in self.series]) for step, label in enumerate(self.labels)]
        return [(label, [self.written(value) for value in values]) for label, values in steps if any(values)]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the charts of one page share: the labels of their steps."""

    labels: tuple[str, ...]

    def stacked(
        self, name: str, title: str, total: str, series: Sequence[Series], written: Callable[[float | None], str]
    ) -> Chart:
        """Bars, one series upon the other."""
        sums = [sum(one.values[step] or 0 for one in series) for step in range(len(self.labels))]
        top = nice(max(sums, default=0))
        bars: list[Bar] = []
        for step, label in enumerate(self.labels):
            floor = HEIGHT
            for one in series:
                if value := one.values[step]:
                    height = value / top * HEIGHT * _TOP
                    floor -= height
                    words = f"{label}: {one.name} {written(value)}"
                    bars.append(Bar(step * STEP + _GAP / 2, _round(floor), STEP - _GAP, _round(height), one.tone, words))
        return self._chart(name, title, total, top, series, written, bars=tuple(bars))

    def lines(self, name: str, title: str, total: str, series: Sequence[Series], written: Callable[[float | None], str]) -> Chart:
        """Lines, one for each series."""
        top = nice(max((value for one in series for value in one.values if value is not None), default=0))
        paths = tuple(Line(found, one.tone) for one in series if (found := _path(one.values, top)))
        return self._chart(name, title, total, top, series, written, lines=paths)

    def _chart(
        self,
        name: str,
        title: str,
        total: str,
        top: float,
        series: Sequence[Series],
        written: Callable[[float | None], str],
        *,
        bars: tuple[Bar, ...] = (),
        lines: tuple[Line, ...] = (),
    ) -> Chart:
        width = len(self.labels) * STEP
        # Half a turn is no turn.
        middle = "" if written is number and top / 2 % 1 else written(top / 2)
        return Chart(name, title, total, width, written(top), middle, self.labels, tuple(series), bars, lines, written)


def nice(value: float) -> float:
    """The next round number: one, two or five of a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-12))


def _path(values: Values, top: float) -> str:
    """An SVG path; a value that stands alone is a dot (a line without length, with round ends)."""
    words: list[str] = []
    drawing = False
    for step, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        x, y = _round(step * STEP + STEP / 2), _round(HEIGHT - value / top * HEIGHT * _TOP)
        words.append(f"{'L' if drawing else 'M'}{x} {y}" + ("" if drawing else "h0"))
        drawing = True
    return "".join(words)


def _round(value: float) -> float:
    return round(value, 3)
