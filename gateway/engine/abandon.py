"""Giving up turns that nobody reads any more."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.engine.live import LiveTurn

Attended = Callable[[LiveTurn], Awaitable[bool]]


class Abandonment:
    """Stops a turn when it has been without a reader for `after_s` seconds on end.

    `attended`, where set, tells whether somebody reads it in another process; then it is looked at again later.
    """

    def __init__(self, after_s: float, stop: Callable[[LiveTurn], object]) -> None:
        self.attended: Attended | None = None
        self._after_s = after_s
        self._stop = stop
        self._asking: set[asyncio.Task[None]] = set()

    def left_alone(self, turn: LiveTurn) -> None:
        """The last reader of a running turn has gone."""
        asyncio.get_running_loop().call_later(self._after_s, self._look, turn, turn.departures)

    async def close(self) -> None:
        """Wait for questions under way."""
        await asyncio.gather(*self._asking)

    def _look(self, turn: LiveTurn, departures: int) -> None:
        if turn.readers or turn.outcome is not None or turn.departures != departures:
            return
        if self.attended is None:
            self._stop(turn)
            return
        task = asyncio.get_running_loop().create_task(self._ask(self.attended, turn))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, attended: Attended, turn: LiveTurn) -> None:
        if await attended(turn):
            self.left_alone(turn)
        elif not turn.readers:
            self._stop(turn)
