"""/chat/stream/{turn_id}: going on with a stream, and stopping a turn."""

from aiohttp import web

from gateway.access.callers import Caller
from gateway.core.errors import GatewayError
from gateway.engine.answers import Wish
from gateway.engine.following import FollowedTurn
from gateway.engine.live import LiveTurn
from gateway.web.edge import QUOTA
from gateway.web.monitoring import json_response
from gateway.web.reading import serve_events
from gateway.web.services import SERVICES
from gateway.wire.frames import EventId, parse_event_id


async def resume(request: web.Request) -> web.StreamResponse:
    """The events of a turn behind `Last-Event-ID`, or all of them."""
    turn_id = request.match_info["turn_id"]
    last = last_event_id(request)
    if last is not None and last.turn_id != turn_id:
        raise GatewayError("invalid_request", "The Last-Event-ID belongs to another turn.")
    await count_resume(request, await request.app[SERVICES].gate.caller(request))
    return await resume_turn(request, await find(request, turn_id), last)


async def resume_turn(request: web.Request, turn: LiveTurn, last: EventId | None) -> web.StreamResponse:
    """Go on behind `last`; 204 tells a client that it has everything."""
    if last is not None and last.position is None:
        return web.Response(status=204)
    request.app[SERVICES].metrics.resumed()
    return await serve_events(request, turn, -1 if last is None else last.position)


async def stop(request: web.Request) -> web.Response:
    """End a running turn, keeping what has come."""
    return await stop_turn(request, await find(request, request.match_info["turn_id"]))


async def stop_by_key(request: web.Request) -> web.Response:
    """End the running turn of an Idempotency-Key."""
    services = request.app[SERVICES]
    caller = await services.gate.caller(request)
    key = idempotency_key(request)
    if key is None:
        raise GatewayError("invalid_request", "Name the turn by its Idempotency-Key, or in the path.")
    return await stop_turn(request, await services.keys.find(caller.id, key))


async def stop_turn(request: web.Request, turn: LiveTurn) -> web.Response:
    """Raises `GatewayError` `turn_ended`."""
    services = request.app[SERVICES]
    turn_id = turn.begun.turn_id
    if isinstance(turn, FollowedTurn) and turn.outcome is None:
        assert services.shared is not None
        await services.shared.following.stop(turn)
    elif not services.engine.stop(turn):
        raise GatewayError("turn_ended", "The reply has already ended.", turn_id=turn_id)
    return json_response({"turn_id": turn_id, "status": "stopping"}, 202)


async def find(request: web.Request, turn_id: str) -> LiveTurn:
    """A turn of the caller's. Raises `GatewayError`: `not_found`, `turn_elsewhere`, `log_unavailable`."""
    services = request.app[SERVICES]
    caller = await services.gate.caller(request)
    return await services.lookup.find(turn_id, lambda owner: may_read(caller, owner))


async def count_resume(request: web.Request, caller: Caller) -> None:
    """Count a stream that is gone on with. Raises `GatewayError` `rate_limited`."""
    quota = await request.app[SERVICES].rates.resume(caller)
    if quota is not None:
        request[QUOTA] = quota


def may_read(caller: Caller, owner: str | None) -> bool:
    """Whether a turn of `owner` is the caller's to read and to stop."""
    return caller.kind == "admin" or owner == caller.id


def last_event_id(request: web.Request) -> EventId | None:
    """The id of the last event the client has. Raises `GatewayError` `invalid_request` for one that was never given."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return None
    found = parse_event_id(text)
    if found is None:
        raise GatewayError("invalid_request", "The Last-Event-ID is not one that this server gave.")
    return found


def cache_wish(request: web.Request) -> Wish:
    """What `Cache-Control` says of answers that were given before.

    Clients of server-sent events send `no-cache` with every request, unasked (WHATWG HTML, "9.2.2 The EventSource interface",
    by way of the cache mode; react-native-sse 1.2 by name), so from them it says nothing.
    """
    said = request.headers.get("Cache-Control")
    if said is None:
        return "usual"
    directives = {directive.strip().lower() for directive in said.split(",")}
    if "no-store" in directives:
        return "no-store"
    reads_events = "text/event-stream" in request.headers.get("Accept", "")
    return "no-cache" if "no-cache" in directives and not reads_events else "usual"


def idempotency_key(request: web.Request) -> str | None:
    """The request's key. Raises `GatewayError` `invalid_request` unless it is 1–200 visible ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (1 <= len(key) <= 200 and all(33 <= ord(char) <= 126 for char in key)):
        raise GatewayError("invalid_request", "An Idempotency-Key takes 1 to 200 visible ASCII characters.")
    return key
