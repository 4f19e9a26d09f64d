"""GET /conversations/export: the log as lines of JSON, as long as it takes and no larger in memory than a portion."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import hdrs, web

from gateway.core.errors import GatewayError
from gateway.core.jsontext import dumps
from gateway.store.base import BadQuery, StoreUnavailable
from gateway.web.conversations import Filters, filter_of
from gateway.web.gate import viewer
from gateway.web.operation import NDJSON
from gateway.web.services import SERVICES

log = logging.getLogger(__name__)

_STUCK_S: Final = 120.0
"""A client that takes no portion for so long is given up."""


async def export_conversations(request: web.Request) -> web.StreamResponse:
    """Every conversation of the caller that the filters let through, a line each."""
    services = request.app[SERVICES]
    sees = viewer(await services.gate.caller(request))
    wanted = filter_of(Filters, request.query)
    async with aclosing(services.exports.conversations(sees, wanted)) as portions:
        first = await _first(portions)
        response = _head(request)
        await response.prepare(request)
        try:
            await _send(response, first)
            async for portion in portions:
                await _send(response, portion)
        except (StoreUnavailable, TimeoutError) as error:
            # The head is out and said 200: only a broken connection can tell that this is not all.
            log.warning("an export was cut off: %s", str(error) or "its reader takes nothing")
            if request.transport is not None:
                request.transport.abort()
    return response


async def _first(portions: AsyncGenerator[list[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """What comes before there is a head, so that what is wrong with the query has its own status."""
    try:
        return await anext(portions, [])
    except BadQuery as error:
        raise GatewayError("invalid_request", str(error)) from None


async def _send(response: web.StreamResponse, conversations: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(_STUCK_S):
        await response.write(b"".join(dumps(conversation) + b"\n" for conversation in conversations))


def _head(request: web.Request) -> web.StreamResponse:
    name = f"conversations-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: NDJSON,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
            hdrs.VARY: "Accept-Encoding",
        }
    )
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
        response.enable_compression(web.ContentCoding.gzip)
    return response
