"""A reader of one turn: from any position, at its own pace, in the format that it asks for."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from gateway.engine.alarms import ring_in
from gateway.engine.live import LiveTurn, Outcome
from gateway.wire.frames import PING, RETRY_LINE, start_frame


class Shape(Protocol):
    """The format in which a reader gets a turn; `resumed` stands before the first frame of a stream that is gone on with."""

    resumed: bytes

    def start(self, turn: LiveTurn) -> bytes:
        """What comes first."""
        ...

    def behind(self, turn: LiveTurn, position: int) -> tuple[bytes, int]:
        """Frames from `position` on, in bounded pieces, and the position that they reach."""
        ...

    def end(self, turn: LiveTurn, outcome: Outcome) -> Iterator[bytes]:
        """What comes last, in pieces."""
        ...


class _OwnShape:
    """The gateway's own events."""

    resumed = RETRY_LINE

    def start(self, turn: LiveTurn) -> bytes:
        return start_frame(turn.begun)

    def behind(self, turn: LiveTurn, position: int) -> tuple[bytes, int]:
        return turn.frames_behind(position)

    def end(self, turn: LiveTurn, outcome: Outcome) -> Iterator[bytes]:
        return outcome.frames(turn.begun.turn_id)


OWN_SHAPE: Final[Shape] = _OwnShape()


class Reader:
    """One reader of one turn, from `position` on (None: from the start event), in one `shape`.

    `on_blocked` is called at each heartbeat at which the client has not yet taken what it got before the last one, with the
    number of such heartbeats in a row.
    """

    __slots__ = (
        "_blocked",
        "_closed",
        "_ending",
        "_greeting",
        "_heard",
        "_heartbeat_s",
        "_on_blocked",
        "_pending",
        "_position",
        "_served",
        "_shape",
        "_timer",
        "_turn",
    )

    def __init__(
        self,
        turn: LiveTurn,
        position: int | None,
        heartbeat_s: float,
        on_blocked: Callable[[int], None] | None = None,
        shape: Shape = OWN_SHAPE,
    ) -> None:
        loop = turn.loop
        self._turn = turn
        self._shape = shape
        self._position = -1 if position is None else position
        self._greeting = shape.resumed if self._position >= 0 else b""
        self._heartbeat_s = heartbeat_s
        self._on_blocked = on_blocked
        self._closed = self._served = False
        self._blocked = 0
        self._ending: Iterator[bytes] | None = None
        self._heard = loop.time()
        self._pending: asyncio.Future[bool] | None = None
        self._timer = ring_in(loop, heartbeat_s, self._beat)
        turn.attach()

    async def next(self) -> bytes | None:
        """The next frames, a ping after `heartbeat_s` of silence, or None behind the terminal event."""
        turn = self._turn
        self._served = True
        data = b""
        if self._position < 0:
            data, self._position = self._shape.start(turn), 0
        while not self._closed:
            if self._ending is not None:
                return next(self._ending, None)
            if self._position < turn.fold.tape.end:
                frames, self._position = self._shape.behind(turn, self._position)
                if self._greeting and frames:
                    data, self._greeting = self._greeting, b""
                data += frames
            if turn.outcome is not None and self._position >= turn.fold.tape.end:
                self._ending = self._shape.end(turn, turn.outcome)
                return data + next(self._ending)
            if data:
                return data
            if not await self._wait():
                return PING
        return None

    def close(self) -> None:
        """Leave the turn; a `next` that is waiting returns None. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        if self._pending is not None and not self._pending.done():
            self._pending.set_result(True)
        self._turn.detach()

    async def _wait(self) -> bool:
        self._heard = self._turn.loop.time()
        self._pending = pending = self._turn.wait()
        try:
            return await pending
        finally:
            self._pending = None
            self._turn.unwait(pending)

    def _beat(self) -> None:
        """One timer a reader, re-armed when it fires: no timer per token."""
        loop = self._turn.loop
        now = loop.time()
        due = self._heard + self._heartbeat_s
        if now >= due:
            # Nobody waits while a slow client is being written to: what it gets then is no silence.
            due = now + self._heartbeat_s
            if self._pending is not None and not self._pending.done():
                self._pending.set_result(False)
        self._timer = ring_in(loop, due - now, self._beat)
        self._blocked = 0 if self._served or self._pending is not None else self._blocked + 1
        self._served = False
        if self._blocked and self._on_blocked is not None:
            self._on_blocked(self._blocked)
