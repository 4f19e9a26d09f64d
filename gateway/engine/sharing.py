"""Turns shared between processes: what runs here is told to the relay, what runs elsewhere is followed from it.

A turn never waits for the relay. Every process sends what is new on all its tapes in one batch, a few times a second; when
the relay was away, the next batch holds what it missed.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.jsontext import dumps_text, loads
from gateway.core.turn import TurnRecord
from gateway.engine.live import LiveTurn
from gateway.engine.runner import Engine
from gateway.engine.tape_json import encode_tape
from gateway.store.base import (
    Receipt,
    Relay,
    RelayBegun,
    RelayEnded,
    RelayEntry,
    RelayTape,
    RelayUnavailable,
)

log = logging.getLogger(__name__)

BATCH_S: Final = 0.05
PULSE_S: Final = 3.0
ALIVE_S: Final = 10
KEPT_S: Final = 120
_RETRY_S: Final = 1.0


@dataclass(slots=True)
class _Sent:
    """How much of a turn the relay has: nothing yet (`position` -1), the tape up to `position`, or its end."""

    turn: LiveTurn
    position: int = -1
    end: RelayEnded | None = None


class Sharing:
    """Tells the relay of the turns that run here, and obeys what other processes ask of them."""

    def __init__(self, relay: Relay, engine: Engine, turn_timeout_s: float) -> None:
        self.process = f"{os.getpid()}-{os.urandom(6).hex()}"
        self.up = True
        self._relay = relay
        self._engine = engine
        self._lifetime_s = int(turn_timeout_s) + KEPT_S
        self._turns: dict[str, _Sent] = {}
        self._changed: set[str] = set()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send and to listen."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._send_forever(), self._pulse_forever(), self._obey_forever())]

    async def close(self) -> None:
        """Send what is left, if the relay takes it at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._try(self._send())

    def begun(self, turn: LiveTurn) -> None:
        """A turn began here."""
        self._turns[turn.begun.turn_id] = _Sent(turn)
        turn.when_ended(lambda outcome: self._not_logged(turn) if outcome.ended is None else None)
        self.grown(turn)

    def grown(self, turn: LiveTurn) -> None:
        """A turn's tape has grown."""
        self._changed.add(turn.begun.turn_id)
        self._news.set()

    def ended(self, turn: LiveTurn, record: TurnRecord, receipt: Receipt) -> None:
        """A turn ended here and is logged."""
        sent = self._turns.get(turn.begun.turn_id)
        if sent is not None:
            sent.end = RelayEnded(record, receipt)
            self.grown(turn)

    async def attended(self, turn: LiveTurn) -> bool:
        """Whether somebody reads the turn in another process."""
        try:
            return await self._relay.attended(turn.begun.turn_id)
        except RelayUnavailable:
            return False

    async def forget_conversation(self, conversation_id: str, caller: str | None) -> None:
        """A conversation was deleted here (by `caller`: their turns in it): they stop everywhere."""
        await self._try(self._relay.tell("forget", dumps_text([conversation_id, caller])))

    async def forget_caller(self, caller: str) -> None:
        """A caller was deleted here: their turns stop everywhere."""
        await self._try(self._relay.tell("forget_caller", caller))

    async def _send_forever(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(BATCH_S)
            if not await self._try(self._send()):
                await asyncio.sleep(_RETRY_S)

    async def _send(self) -> None:
        self._news.clear()
        changed, self._changed = self._changed, set()
        sent = {turn_id: self._turns[turn_id] for turn_id in changed if turn_id in self._turns}
        entries = [entry for turn_id, one in sent.items() for entry in self._entries(turn_id, one)]
        reached = {turn_id: one.turn.fold.tape.end for turn_id, one in sent.items()}
        ends = [turn_id for turn_id, one in sent.items() if one.end is not None]
        try:
            if entries:
                await self._relay.append(entries, self._lifetime_s)
        except BaseException:
            self._changed |= changed
            self._news.set()
            raise
        for turn_id, position in reached.items():
            sent[turn_id].position = position
        for turn_id in ends:
            del self._turns[turn_id]

    def _not_logged(self, turn: LiveTurn) -> None:
        self._turns.pop(turn.begun.turn_id, None)

    def _entries(self, turn_id: str, sent: _Sent) -> list[RelayEntry]:
        entries: list[RelayEntry] = []
        tape = sent.turn.fold.tape
        if sent.position < 0:
            entries.append(RelayEntry(turn_id, RelayBegun(sent.turn.begun, self.process)))
        if tape.end > max(0, sent.position):
            entries.append(RelayEntry(turn_id, RelayTape(encode_tape(tape, max(0, sent.position)))))
        if sent.end is not None:
            entries.append(RelayEntry(turn_id, sent.end))
        return entries

    async def _pulse_forever(self) -> None:
        while True:
            await self._try(self._relay.alive(self.process, ALIVE_S))
            await asyncio.sleep(PULSE_S)

    async def _obey_forever(self) -> None:
        while True:
            await self._try(self._obey())
            await asyncio.sleep(_RETRY_S)

    async def _obey(self) -> None:
        async for command, subject in self._relay.commands():
            if command == "stop" and (turn := self._engine.find(subject)) is not None:
                self._engine.stop(turn)
            elif command == "forget":
                self._engine.forget_conversation(*loads(subject))
            elif command == "forget_caller":
                self._engine.forget_caller(subject)

    async def _try(self, work: Coroutine[Any, Any, None]) -> bool:
        try:
            await work
        except RelayUnavailable as error:
            if self.up:
                log.warning("redis is away: streams can be resumed in their own process only (%s)", error)
            self.up = False
            return False
        except Exception:
            log.exception("turns could not be shared")
            return False
        if not self.up:
            log.info("redis is back")
        self.up = True
        return True
