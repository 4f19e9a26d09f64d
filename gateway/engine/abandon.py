"""Giving up turns that nobody reads any more."""

from collections.abc import Callable
from typing import Final

from gateway.engine.alarms import Timer, ring_in
from gateway.engine.live import LiveTurn

# A client that hung up while its turn was being accepted never attaches; one that did not is there at once.
UNATTENDED_S: Final = 5.0


class Abandonment:
    """Stops a turn when it has been without a reader for `after_s` seconds on end."""

    def __init__(self, after_s: float, stop: Callable[[LiveTurn], object]) -> None:
        self._after_s = after_s
        self._stop = stop
        self._timers: dict[str, Timer] = {}

    def begun(self, turn: LiveTurn) -> None:
        """A turn began: its first reader is on the way."""
        self._look_in(turn, max(UNATTENDED_S, self._after_s))

    def left_alone(self, turn: LiveTurn) -> None:
        """The last reader of a running turn has gone."""
        self._look_in(turn, self._after_s)

    def over(self, turn: LiveTurn) -> None:
        """A turn ended: nothing is left to look at."""
        timer = self._timers.pop(turn.begun.turn_id, None)
        if timer is not None:
            timer.cancel()

    def _look_in(self, turn: LiveTurn, seconds: float) -> None:
        self.over(turn)
        self._timers[turn.begun.turn_id] = ring_in(turn.loop, seconds, self._look, turn)

    def _look(self, turn: LiveTurn) -> None:
        del self._timers[turn.begun.turn_id]
        if not turn.readers and turn.outcome is None:
            self._stop(turn)
