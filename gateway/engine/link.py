"""This process's place among the others: its name, its inbox and outbox, and whether the relay answers."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from gateway.core.letters import Letter
from gateway.engine.outbox import Outbox
from gateway.store.base import Relay, RelayUnavailable

log = logging.getLogger(__name__)

PULSE_S: Final = 3.0
ALIVE_S: Final = 10
KEPT_S: Final = 120
_RETRY_S: Final = 1.0
_LISTEN_S: Final = 5.0

T = TypeVar("T")


class Link:
    """Reads this process's letters and keeps it known to be alive. Nobody waits for the relay longer than it takes to fail.

    `readers` are offered each letter until one takes it; `on_pulse` are called every few seconds, `on_lost` when the relay has
    forgotten this process, and with it all it was told.
    """

    def __init__(self, relay: Relay, turn_timeout_s: float) -> None:
        self.process = f"{os.getpid()}-{os.urandom(6).hex()}"
        self.relay = relay
        self.up = True
        self.outbox = Outbox(relay, int(turn_timeout_s) + KEPT_S, self._told)
        self.readers: list[Callable[[Letter], bool]] = []
        self.on_pulse: list[Callable[[], None]] = []
        self.on_lost: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read, to send and to be known."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._pulse_forever()), loop.create_task(self._read_forever())]
        self.outbox.start()

    async def close(self) -> None:
        """Send what is left, and say that this process is gone; where that is not heard, its silence is noticed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.outbox.close()
        if self.up:
            with suppress(RelayUnavailable):
                await self.relay.gone(self.process)

    async def asked(self, question: Awaitable[T]) -> T:
        """What the relay answers. Raises `RelayUnavailable`."""
        try:
            answer = await question
        except RelayUnavailable as error:
            self._told(error)
            raise
        self._told(None)
        return answer

    def _told(self, error: RelayUnavailable | None) -> None:
        if error is not None and self.up:
            log.warning("redis is away: running turns can be resumed in their own process only (%s)", error)
        elif error is None and not self.up:
            log.info("redis is back")
        self.up = error is None

    async def _pulse_forever(self) -> None:
        known = False
        while True:
            try:
                still_known = await self.asked(self.relay.alive(self.process, ALIVE_S))
            except RelayUnavailable:
                pass
            else:
                if known and not still_known:
                    _call(self.on_lost)
                known = True
            _call(self.on_pulse)
            await asyncio.sleep(PULSE_S)

    async def _read_forever(self) -> None:
        done: list[str] = []
        while True:
            try:
                received = await self.asked(self.relay.receive(self.process, done, _LISTEN_S))
            except RelayUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            for _, letter in received:
                self._deliver(letter)
            done = [place for place, _ in received]

    def _deliver(self, letter: Letter | None) -> None:
        if letter is None:
            log.warning("a letter from another process could not be read; do all run the same version?")
            return
        try:
            any(reader(letter) for reader in self.readers)
        except Exception:
            log.exception("a letter from another process could not be followed")


def _call(each: list[Callable[[], None]]) -> None:
    for call in each:
        try:
            call()
        except Exception:
            log.exception("a pulse failed")
