"""POST /chat and everything under /chat/stream: handlers are readers of turns."""

from aiohttp import web

from gateway.core.errors import GatewayError
from gateway.engine.live import LiveTurn, Reader
from gateway.web.chat_body import parse_chat
from gateway.web.edge import REQUEST_ID, read_json_body
from gateway.web.services import SERVICES

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


async def chat(request: web.Request) -> web.StreamResponse:
    """The whole reply as one JSON body."""
    turn = await _open(request, streamed=False)
    turn.attach()
    try:
        outcome = await turn.ended()
    finally:
        turn.detach()
    if outcome.body is None:
        assert outcome.error is not None
        raise outcome.error
    headers = {"X-Turn-Id": turn.begun.turn_id, "Cache-Control": "no-store"}
    return web.Response(body=outcome.body, content_type="application/json", headers=headers)


async def chat_stream(request: web.Request) -> web.StreamResponse:
    """The reply as server-sent events."""
    return await serve_events(request, await _open(request, streamed=True), None)


async def serve_events(request: web.Request, turn: LiveTurn, position: int | None) -> web.StreamResponse:
    """Send a turn's events from `position` on.

    The head is held until there is something to say, so that an early failure keeps its HTTP status.
    """
    services = request.app[SERVICES]
    reader = Reader(turn, position, services.heartbeat_s)
    try:
        if position is None:
            await turn.first_output(services.heartbeat_s)
            _raise_early_failure(turn)
        headers = {**_STREAM_HEADERS, "X-Turn-Id": turn.begun.turn_id, "X-Request-Id": request[REQUEST_ID]}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            while (frames := await reader.next()) is not None:
                await response.write(frames)
            await response.write_eof()
        except ConnectionResetError:
            # The reader is gone; the turn is not.
            pass
        return response
    finally:
        reader.close()


def _raise_early_failure(turn: LiveTurn) -> None:
    outcome = turn.outcome
    if outcome is not None and outcome.error is not None and not turn.fold.has_output:
        raise outcome.error


async def _open(request: web.Request, *, streamed: bool) -> LiveTurn:
    services = request.app[SERVICES]
    caller = services.gate.caller(request)
    parsed = parse_chat(await read_json_body(request))
    return await services.intake.accept(parsed, caller, request_id=request[REQUEST_ID], streamed=streamed, idempotency_key=None)


def find_turn(request: web.Request, turn_id: str) -> LiveTurn:
    """A turn that runs here, for its caller. Raises `GatewayError` `not_found`."""
    services = request.app[SERVICES]
    caller = services.gate.caller(request)
    turn = services.engine.find(turn_id)
    if turn is None or not (caller.reads_everything or turn.begun.caller == caller.id):
        raise GatewayError("not_found", "There is no such turn.")
    return turn
