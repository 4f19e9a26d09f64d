"""POST /v1/chat/completions: turns for clients of OpenAI's format."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from aiohttp import web

from gateway.access.callers import Caller
from gateway.core.errors import GatewayError
from gateway.engine.idempotency import frees_key
from gateway.engine.live import STRETCH_LIMIT, LiveTurn, Outcome
from gateway.store.base import StoreUnavailable
from gateway.web.edge import QUOTA, REQUEST_ID, read_json_body
from gateway.web.openai_body import Completion, parse_completion
from gateway.web.openai_models import resolve
from gateway.web.openai_threads import earlier_replies
from gateway.web.reading import serve_events
from gateway.web.services import SERVICES
from gateway.web.streams import cache_wish, count_resume, find, idempotency_key, last_event_id, may_read
from gateway.web.whole import whole_reply
from gateway.wire.frames import EventId, tape_frames
from gateway.wire.openai_chunks import Chunks, completion_body, parse_completion_id


class _ChunkShape:
    """A turn as chunks; see `Shape`."""

    resumed = b""

    def __init__(self, turn: LiveTurn, *, usage: bool) -> None:
        self._chunks = Chunks(turn.begun, turn.fold.tape, usage=usage)

    def start(self, _: LiveTurn) -> bytes:
        return self._chunks.start()

    def behind(self, turn: LiveTurn, position: int) -> tuple[bytes, int]:
        chunks = self._chunks
        return tape_frames(turn.begun.turn_id, turn.fold.tape, position, STRETCH_LIMIT, chunks.text, chunks.item)

    def end(self, _: LiveTurn, outcome: Outcome) -> Iterator[bytes]:
        if outcome.error is not None:
            return self._chunks.failed(outcome.error)
        assert outcome.ended is not None
        return self._chunks.end(outcome.ended)


async def complete(request: web.Request) -> web.StreamResponse:
    """The reply, whole or as a stream of chunks; with `Last-Event-ID` the rest of the turn that the id names."""
    caller = await request.app[SERVICES].gate.caller(request)
    last = last_event_id(request)
    asked = parse_completion(await read_json_body(request))
    if last is not None:
        return await _resume(request, caller, asked, last)
    turn = await _lost(request, caller, asked) or await _open(request, caller, asked)
    try:
        return await _answer(request, turn, asked)
    except asyncio.CancelledError:
        request.app[SERVICES].lost.add(turn)
        raise


async def get_completion(request: web.Request) -> web.StreamResponse:
    """A reply that was begun before, once it is whole: what a client needs whose stream broke."""
    await count_resume(request, await request.app[SERVICES].gate.caller(request))
    turn_id = parse_completion_id(request.match_info["completion_id"])
    if turn_id is None:
        raise GatewayError("not_found", "There is no such completion.")
    return await _whole(request, await find(request, turn_id))


async def _open(request: web.Request, caller: Caller, asked: Completion) -> LiveTurn:
    name = asked.request.conversation_id or asked.user
    if name is not None:
        try:
            return await _begin(request, caller, asked, name)
        except GatewayError as error:
            # A name of the client's own for somebody may be another client's too.
            if error.code != "not_found" or asked.request.conversation_id is not None:
                raise
    return await _begin(request, caller, asked, await _conversation(request, caller, asked))


async def _begin(request: web.Request, caller: Caller, asked: Completion, conversation_id: str | None) -> LiveTurn:
    services = request.app[SERVICES]
    named = resolve(services.router, asked.model)
    accepted = await services.intake.accept(
        replace(asked.request, provider=named.provider, model=named.model, pinned=named.pinned, conversation_id=conversation_id),
        caller,
        request_id=request[REQUEST_ID],
        streamed=asked.streamed,
        idempotency_key=idempotency_key(request),
        wish=cache_wish(request),
    )
    if accepted.quota is not None:
        request[QUOTA] = accepted.quota
    return accepted.turn


async def _conversation(request: web.Request, caller: Caller, asked: Completion) -> str | None:
    """The conversation that a history goes on with, as far as its replies were given here.

    Another stranger may have asked the same and been told the same: the id of their conversation would open it.
    """
    replies = earlier_replies(asked.request.entries or ())
    if not replies or caller.stranger:
        return None
    try:
        return await request.app[SERVICES].threads.find(caller.id, replies)
    except StoreUnavailable:
        return None


async def _lost(request: web.Request, caller: Caller, asked: Completion) -> LiveTurn | None:
    """The turn that a client asks for again by itself, having hung up on it.

    Clients made with Stainless, as OpenAI's are, send no key with a retry, but say that it is one.
    """
    if request.headers.get("X-Stainless-Retry-Count", "0") == "0" or "Idempotency-Key" in request.headers or caller.stranger:
        return None
    services = request.app[SERVICES]
    turn_id = services.lost.take(caller.id, asked.request.body_hash)
    if turn_id is None:
        return None
    try:
        turn = await services.lookup.find(turn_id, lambda owner: may_read(caller, owner))
    except GatewayError:
        return None
    if frees_key(turn):
        return None
    await count_resume(request, caller)
    return turn


async def _resume(request: web.Request, caller: Caller, asked: Completion, last: EventId) -> web.StreamResponse:
    await count_resume(request, caller)
    turn = await find(request, last.turn_id)
    key = idempotency_key(request)
    if turn.begun.request_hash != asked.request.body_hash or (key is not None and key != turn.begun.idempotency_key):
        raise GatewayError("idempotency_mismatch", "The Last-Event-ID belongs to another request.")
    if last.position is None:
        return web.Response(status=204)
    request.app[SERVICES].metrics.resumed()
    return await serve_events(request, turn, last.position, _ChunkShape(turn, usage=asked.usage))


async def _answer(request: web.Request, turn: LiveTurn, asked: Completion) -> web.StreamResponse:
    if asked.streamed:
        return await serve_events(request, turn, None, _ChunkShape(turn, usage=asked.usage))
    return await _whole(request, turn)


async def _whole(request: web.Request, turn: LiveTurn) -> web.StreamResponse:
    turn.attach()
    try:
        outcome = await turn.ended()
    finally:
        turn.detach()
    if outcome.error is not None:
        raise outcome.error
    assert outcome.ended is not None
    body = completion_body(turn.begun, outcome.ended, turn.fold.tape)
    return whole_reply(request, body, turn.begun.turn_id)
