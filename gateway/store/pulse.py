"""Whether the database says anything at all.

One that is frozen, or behind a network that swallows everything, refuses nothing: every call to it waits out its time, and a
chat makes several. So when nothing has been heard for a moment while somebody waits, one question is asked on a connection of
its own; if that stays without an answer too, all who wait are told so, and all who come, until there is an answer again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.store.base import StoreUnavailable
from gateway.store.failures import DATABASE_ERRORS

log = logging.getLogger(__name__)

SUSPICIOUS_S: Final = 1.0
ANSWER_S: Final = 1.0
_PAUSE_S: Final = 0.2

Ask = Callable[[float], Awaitable[None]]


class Pulse:
    """`ask(seconds)` returns, or raises whatever the server or the network says, when there was any answer, and raises
    `TimeoutError` when there was none. `longest_s` is how long it may take while the database is known to be silent."""

    def __init__(self, ask: Ask, longest_s: float) -> None:
        self.silent = False
        self._ask = ask
        self._longest_s = longest_s
        self._waiting: set[asyncio.Timeout] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._quiet = False
        self._closed = False

    def check(self) -> None:
        """Raise `StoreUnavailable` while the database is silent."""
        if self.silent:
            raise StoreUnavailable("the database does not answer")

    @contextmanager
    def waiting(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """Somebody waits for the database; the deadline comes sooner when it proves to be silent."""
        self._waiting.add(deadline)
        if self._timer is None and self._asking is None:
            self._look_later()
        try:
            yield
        finally:
            self._waiting.discard(deadline)

    def heard(self) -> None:
        """The database has said something."""
        self._quiet = False

    def hurry(self, seconds: float) -> None:
        """Whoever waits shall wait no longer than so many seconds more."""
        until = asyncio.get_running_loop().time() + seconds
        for deadline in self._waiting:
            when = deadline.when()
            if not deadline.expired() and (when is None or when > until):
                deadline.reschedule(until)

    def suspect(self) -> None:
        """Ask whether it is there."""
        if self._asking is None and not self._closed:
            self._asking = asyncio.get_running_loop().create_task(self._ask_until_answered(), name="pulse")

    async def close(self) -> None:
        """Stop asking."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait((self._asking,))

    def _look_later(self) -> None:
        """One timer for all who wait."""
        self._quiet = True
        self._timer = asyncio.get_running_loop().call_later(SUSPICIOUS_S, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._waiting or self._closed:
            return
        if self._quiet:
            self.suspect()
        else:
            self._look_later()

    async def _ask_until_answered(self) -> None:
        patience_s = min(ANSWER_S, self._longest_s)
        try:
            while True:
                try:
                    await self._ask(patience_s)
                    return
                except TimeoutError:
                    self._found_silent()
                patience_s = self._longest_s
                await asyncio.sleep(_PAUSE_S)
        except DATABASE_ERRORS as error:
            # A refusal is an answer: whoever asks next hears it at once.
            log.debug("the database answers: %r", error)
        finally:
            self.silent = False
            self._asking = None
            if self._waiting and not self._closed:
                self._look_later()

    def _found_silent(self) -> None:
        if not self.silent:
            log.debug("the database does not answer")
        self.silent = True
        self.hurry(0)
