"""The signals that end the server, heard from its first moment to its last."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

RETIRE: Final = signal.SIGUSR1
"""Tells a worker that another takes its place."""

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """SIGTERM, SIGINT or SIGHUP asks for a clean end; a second one ends the process at once.

    `on_stop` is called with the first, `on_again` with the second, which ends the process unless it is replaced; `last_words`
    is called before that. All of them are called on the main thread, between two of its instructions or by its event loop,
    and must be quick.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.on_stop: Callable[[], None] = _nothing
        self.last_words: Callable[[], None] = _nothing
        self.on_again: Callable[[], None] = self._end

    def hold(self) -> None:
        """Hear signals while no event loop runs. One that is ignored, as nohup does with SIGHUP, stays so."""
        self.on_again = self._end
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._heard())

    def watch(self) -> asyncio.Event:
        """Hear them on the running loop; the event is set with the first, which may have come already."""
        stop = asyncio.Event()
        self.on_stop = stop.set
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._heard)
        if self.stopping:
            stop.set()
        return stop

    def _heard(self) -> None:
        if self.stopping:
            self.on_again()
        else:
            self.stopping = True
            self.on_stop()

    def _end(self) -> None:
        self.last_words()
        os._exit(1)


def _nothing() -> None:
    pass
