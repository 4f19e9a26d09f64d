"""A timeout on silence that costs nothing per byte: one timer, set anew only when it rings."""

import asyncio
from types import TracebackType
from typing import Self

from gateway.engine.alarms import Timer, ring_in


class SilenceTimeout:
    """`async with SilenceTimeout(60) as guard:` raises `TimeoutError` when `guard.touch()` was not called for that long.

    `allow(seconds)` changes the limit from now on.
    """

    __slots__ = ("_expired", "_heard", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._expired = False
        self._timer: Timer | None = None
        self._task: asyncio.Task[object] | None = None

    def touch(self) -> None:
        """Something was heard."""
        self._heard = self._loop.time()

    def allow(self, seconds: float) -> None:
        """Take another limit, counted from now."""
        self._seconds = seconds
        self.touch()
        self._arm()

    def disarm(self) -> None:
        """Nothing more is waited for; what the loop has learnt of the time meanwhile is not heeded."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self.disarm()
        self._timer = ring_in(self._loop, self._heard + self._seconds - self._loop.time(), self._check)

    def _check(self) -> None:
        if self._heard + self._seconds > self._loop.time():
            self._arm()
        elif self._task is not None:
            self._expired = True
            self._task.cancel()

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._arm()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired and self._task is not None and self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error
