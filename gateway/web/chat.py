"""POST /chat and POST /chat/stream: handlers are readers of turns."""

from aiohttp import web

from gateway.access.callers import Caller
from gateway.core.errors import GatewayError
from gateway.core.request import ChatRequest
from gateway.engine.live import LiveTurn
from gateway.web.chat_body import parse_chat
from gateway.web.edge import QUOTA, REQUEST_ID, read_json_body
from gateway.web.reading import serve_events
from gateway.web.services import SERVICES, Services
from gateway.web.streams import cache_wish, count_resume, find, idempotency_key, last_event_id, resume_turn
from gateway.web.whole import whole_reply


async def chat(request: web.Request) -> web.StreamResponse:
    """The whole reply as one JSON body."""
    # Who asks comes first: strangers' bodies are not read.
    services = request.app[SERVICES]
    caller = await services.gate.caller(request)
    turn = await _open(request, services, caller, parse_chat(await read_json_body(request)), streamed=False)
    turn.attach()
    try:
        outcome = await turn.ended()
    finally:
        turn.detach()
    if outcome.body is None:
        assert outcome.error is not None
        raise outcome.error
    return whole_reply(request, outcome.body, turn.begun.turn_id)


async def chat_stream(request: web.Request) -> web.StreamResponse:
    """The reply as server-sent events; with `Last-Event-ID` the rest of the turn that the id names, never a second one."""
    services = request.app[SERVICES]
    caller = await services.gate.caller(request)
    last = last_event_id(request)
    parsed = parse_chat(await read_json_body(request))
    if last is None:
        return await serve_events(request, await _open(request, services, caller, parsed, streamed=True), None)
    await count_resume(request, caller)
    turn = await find(request, last.turn_id)
    key = idempotency_key(request)
    if turn.begun.request_hash != parsed.body_hash or (key is not None and key != turn.begun.idempotency_key):
        raise GatewayError("idempotency_mismatch", "The Last-Event-ID belongs to another request.")
    return await resume_turn(request, turn, last)


async def _open(request: web.Request, services: Services, caller: Caller, parsed: ChatRequest, *, streamed: bool) -> LiveTurn:
    accepted = await services.intake.accept(
        parsed,
        caller,
        request_id=request[REQUEST_ID],
        streamed=streamed,
        idempotency_key=idempotency_key(request),
        wish=cache_wish(request),
    )
    if accepted.quota is not None:
        request[QUOTA] = accepted.quota
    return accepted.turn
