"""Sending a turn's events to one client."""

import asyncio
import fcntl
import logging
import termios
from array import array
from contextlib import suppress
from typing import Final

from aiohttp import web

from gateway.engine.live import LiveTurn
from gateway.engine.reader import OWN_SHAPE, Reader, Shape
from gateway.web.connections import is_last
from gateway.web.services import SERVICES

log = logging.getLogger(__name__)

# A client that takes nothing for so many heartbeats is given up; it can come back for the rest.
STUCK_BEATS: Final = 4

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


async def serve_events(
    request: web.Request, turn: LiveTurn, position: int | None, shape: Shape = OWN_SHAPE
) -> web.StreamResponse:
    """Send a turn's events from `position` on.

    The head is held until there is something to say, so that an early failure keeps its HTTP status.
    """
    services = request.app[SERVICES]
    reader = Reader(turn, position, services.heartbeat_s, _Patience(request.transport).blocked, shape)
    try:
        if position is None:
            await turn.first_output(services.heartbeat_s)
            _raise_early_failure(turn)
        response = web.StreamResponse(headers={**_STREAM_HEADERS, "X-Turn-Id": turn.begun.turn_id})
        if is_last(request):
            response.force_close()
        try:
            await response.prepare(request)
            while (frames := await reader.next()) is not None:
                await response.write(frames)
            await response.write_eof()
        except ConnectionResetError:
            # The reader is gone; the turn is not.
            pass
        return response
    finally:
        reader.close()


class _Patience:
    """Gives up a client whose connection takes no byte for `STUCK_BEATS` heartbeats; slow ones get what time they need."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self._left = 0
        self._since = 0

    def blocked(self, beats: int) -> None:
        """The same write has waited for `beats` heartbeats."""
        if self._transport is None:
            return
        left = _untaken(self._transport)
        if beats == 1 or left < self._left:
            self._since = beats
        self._left = left
        if left and beats - self._since >= STUCK_BEATS:
            log.info("a client takes nothing: its connection is closed, its turn goes on")
            self._transport.abort()


def _untaken(transport: asyncio.Transport) -> int:
    """How many bytes wait for the client: here, and, where the kernel tells, there."""
    there = array("i", [0])
    line = transport.get_extra_info("socket")
    with suppress(OSError, ValueError):
        fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, there, True)
    return transport.get_write_buffer_size() + there[0]


def _raise_early_failure(turn: LiveTurn) -> None:
    outcome = turn.outcome
    if outcome is not None and outcome.error is not None and not turn.fold.has_output:
        raise outcome.error
