"""Timers that hardly ever ring: those of one half second share a timer of the loop's.

A turn sets four that are minutes away, and cancels them when it ends. Each of the loop's own would take 600 bytes and a
hundredth of the turn's CPU.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

_GRAIN_S: Final = 0.5
_EXACT_S: Final = 5.0


class Timer(Protocol):
    """What was set, and can be taken back."""

    def cancel(self) -> None:
        """Do not ring."""
        ...

    def cancelled(self) -> bool:
        """Whether it was taken back."""
        ...

    def when(self) -> float:
        """When it rings, by the loop's clock."""
        ...


class _Alarm:
    __slots__ = ("_arguments", "_call", "_others", "_slot")

    def __init__(self, slot: int, others: "dict[_Alarm, None]", call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._slot = slot
        self._others = others
        self._call: Callable[..., object] | None = call
        self._arguments = arguments
        others[self] = None

    def cancel(self) -> None:
        self._others.pop(self, None)
        self._call, self._arguments = None, ()

    def cancelled(self) -> bool:
        return self._call is None

    def when(self) -> float:
        return self._slot * _GRAIN_S

    def ring(self) -> None:
        if self._call is not None:
            self._call(*self._arguments)


class _Alarms:
    """The alarms of one loop, by half second. They do not hold the loop, which would then live as long as the process."""

    def __init__(self) -> None:
        self._by_slot: dict[int, dict[_Alarm, None]] = {}

    def set(
        self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[..., object], arguments: tuple[Any, ...]
    ) -> _Alarm:
        slot = int((loop.time() + seconds) / _GRAIN_S) + 1
        alarms = self._by_slot.get(slot)
        if alarms is None:
            alarms = self._by_slot[slot] = {}
            loop.call_at(slot * _GRAIN_S, self._ring, slot)
        return _Alarm(slot, alarms, call, arguments)

    def _ring(self, slot: int) -> None:
        for alarm in list(self._by_slot.pop(slot)):
            try:
                alarm.ring()
            except Exception:
                log.exception("what was to happen at a time failed")


_ALARMS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarms]] = WeakKeyDictionary()


def ring_in(loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[..., object], *arguments: Any) -> Timer:
    """Call back in so many seconds: exactly when they are few, else up to half a second later."""
    if seconds < _EXACT_S:
        return loop.call_later(seconds, call, *arguments)
    alarms = _ALARMS.get(loop)
    if alarms is None:
        alarms = _ALARMS[loop] = _Alarms()
    return alarms.set(loop, seconds, call, arguments)
