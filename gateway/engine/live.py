"""A turn while it runs (and for a while after): one tape, any number of readers, each at its own pace."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from gateway.core.errors import GatewayError
from gateway.core.fold import Fold
from gateway.core.turn import TurnBegun, TurnEnded
from gateway.core.value import value
from gateway.wire.frames import FRAME_END, PING, RETRY_LINE, done_frame, done_head, start_frame, tape_frames

STRETCH_LIMIT: Final = 32_768
PIECE_BYTES: Final = 65_536


@value
class Outcome:
    """How a turn ended: the reply's body, or the frame of the `failed` event and the error (`ended` None: not logged)."""

    ended: TurnEnded | None
    body: bytes | None
    failed: bytes = b""
    error: GatewayError | None = None

    def frames(self, turn_id: str) -> Iterator[bytes]:
        """The terminal event; a long one in pieces, so that no reader holds a copy of it while its client is slow."""
        if self.body is None:
            yield self.failed
        elif len(self.body) <= PIECE_BYTES:
            yield done_frame(turn_id, self.body)
        else:
            yield done_head(turn_id)
            for start in range(0, len(self.body), PIECE_BYTES):
                yield self.body[start : start + PIECE_BYTES]
            yield FRAME_END


class LiveTurn:
    """The turn's task publishes, readers read. Nothing here knows a socket."""

    def __init__(self, begun: TurnBegun, fold: Fold, on_alone: Callable[["LiveTurn"], None]) -> None:
        self.begun = begun
        self.fold = fold
        self.outcome: Outcome | None = None
        self.readers = 0
        self.first_output_ms: int | None = None
        self._on_alone = on_alone
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[bool]] = set()
        self._for_first: list[asyncio.Future[None]] = []
        self._for_end: list[asyncio.Future[None]] = []
        self._calls_at_end: list[Callable[[Outcome], None]] = []
        self._shared: tuple[int, bytes, int] = (-1, b"", -1)

    def publish(self) -> None:
        """Wake the readers: the tape has grown."""
        if self.first_output_ms is None and self.fold.has_output:
            self.first_output_ms = time.time_ns() // 1_000_000
            _resolve(self._for_first)
        self._wake()

    def end(self, outcome: Outcome) -> None:
        """Give every reader the terminal event; called once."""
        if self.outcome is not None:
            raise asyncio.InvalidStateError("a turn ends once")
        self.outcome = outcome
        _resolve(self._for_first)
        _resolve(self._for_end)
        for call in self._calls_at_end:
            self._loop.call_soon(call, outcome)
        # They hold the turn, which holds them: such a ring would wait for the collector.
        self._calls_at_end.clear()
        self._wake()

    async def first_output(self, timeout_s: float) -> None:
        """Return when there is something to send, or after `timeout_s`."""
        if self.outcome is None and self.first_output_ms is None:
            await self._until(self._for_first, timeout_s)

    async def ended(self) -> Outcome:
        """Wait for the end; cancelling the waiter leaves the turn alone."""
        if self.outcome is None:
            await self._until(self._for_end)
        assert self.outcome is not None
        return self.outcome

    def when_ended(self, call: Callable[[Outcome], None]) -> None:
        """Call back once the turn has ended."""
        if self.outcome is None:
            self._calls_at_end.append(call)
        else:
            self._loop.call_soon(call, self.outcome)

    def attach(self) -> None:
        """Count a reader in."""
        self.readers += 1

    def detach(self) -> None:
        """Count a reader out; the last one leaving a running turn starts its abandonment."""
        self.readers -= 1
        if self.readers == 0 and self.outcome is None:
            self._on_alone(self)

    def frames_behind(self, position: int) -> tuple[bytes, int]:
        """Frames from `position` on; rendered once for all readers that are level with each other."""
        known, frames, reached = self._shared
        if known != position or reached != self.fold.tape.end:
            frames, reached = tape_frames(self.begun.turn_id, self.fold.tape, position, STRETCH_LIMIT)
            self._shared = (position, frames, reached)
        return frames, reached

    def wait(self) -> asyncio.Future[bool]:
        """A future that the next publication resolves; hand it to `unwait` when it has served."""
        future = self._loop.create_future()
        self._waiting.add(future)
        return future

    def unwait(self, future: asyncio.Future[bool]) -> None:
        """Forget a future, resolved or not: its reader woke for another reason, or is gone."""
        self._waiting.discard(future)

    async def changed(self) -> None:
        """Return at the next publication."""
        future = self.wait()
        try:
            await future
        finally:
            self.unwait(future)

    async def _until(self, waiting: list[asyncio.Future[None]], timeout_s: float | None = None) -> None:
        future = self._loop.create_future()
        waiting.append(future)
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, _resolve, (future,))
        try:
            await future
        finally:
            waiting.remove(future)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            for future in waiting:
                if not future.done():
                    future.set_result(True)


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


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
        loop = asyncio.get_running_loop()
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
        self._timer = loop.call_later(heartbeat_s, self._beat)
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
        self._heard = asyncio.get_running_loop().time()
        self._pending = pending = self._turn.wait()
        try:
            return await pending
        finally:
            self._pending = None
            self._turn.unwait(pending)

    def _beat(self) -> None:
        """One timer a reader, re-armed when it fires: no timer per token."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = self._heard + self._heartbeat_s
        if now >= due:
            # Nobody waits while a slow client is being written to: what it gets then is no silence.
            due = now + self._heartbeat_s
            if self._pending is not None and not self._pending.done():
                self._pending.set_result(False)
        self._timer = loop.call_at(due, self._beat)
        self._blocked = 0 if self._served or self._pending is not None else self._blocked + 1
        self._served = False
        if self._blocked and self._on_blocked is not None:
            self._on_blocked(self._blocked)
