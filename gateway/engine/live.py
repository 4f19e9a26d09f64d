"""A turn while it runs (and for a while after): one tape, any number of readers, each at its own pace."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.fold import Fold
from gateway.core.turn import TurnBegun, TurnEnded
from gateway.core.value import value
from gateway.engine.alarms import ring_in
from gateway.wire.frames import FRAME_END, done_frame, done_head, tape_frames

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

    __slots__ = (
        "__weakref__",
        "_calls_at_end",
        "_for_end",
        "_for_first",
        "_on_alone",
        "_shared",
        "_waiting",
        "begun",
        "first_output_ms",
        "fold",
        "loop",
        "outcome",
        "readers",
    )

    def __init__(self, begun: TurnBegun, fold: Fold, on_alone: Callable[["LiveTurn"], None]) -> None:
        self.begun = begun
        self.fold = fold
        self.outcome: Outcome | None = None
        self.readers = 0
        self.first_output_ms: int | None = None
        self._on_alone = on_alone
        self.loop = asyncio.get_running_loop()
        # A dict, as an empty set takes three times as much.
        self._waiting: dict[asyncio.Future[bool], None] = {}
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
            self.loop.call_soon(call, outcome)
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
            self.loop.call_soon(call, self.outcome)

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
        future = self.loop.create_future()
        self._waiting[future] = None
        return future

    def unwait(self, future: asyncio.Future[bool]) -> None:
        """Forget a future, resolved or not: its reader woke for another reason, or is gone."""
        self._waiting.pop(future, None)

    async def changed(self) -> None:
        """Return at the next publication."""
        future = self.wait()
        try:
            await future
        finally:
            self.unwait(future)

    async def _until(self, waiting: list[asyncio.Future[None]], timeout_s: float | None = None) -> None:
        future = self.loop.create_future()
        waiting.append(future)
        timer = None if timeout_s is None else ring_in(self.loop, timeout_s, _resolve, (future,))
        try:
            await future
        finally:
            waiting.remove(future)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for future in waiting:
                if not future.done():
                    future.set_result(True)


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
