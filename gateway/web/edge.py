"""What every request passes: an id, its body within bounds, and errors as problem objects."""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.access.quota import OverLimit, Quota, limit_headers
from gateway.core.errors import ErrorCode, GatewayError
from gateway.core.jsontext import dumps
from gateway.store.base import StoreUnavailable
from gateway.wire.frames import problem_body

log = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 30
REQUEST_ID: Final = web.RequestKey("request_id", str)
QUOTA: Final = web.RequestKey("quota", Quota)
_REQUEST_ID_RULE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HTTP_CODES: Final[dict[int, tuple[ErrorCode, str]]] = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("body_too_large", "The body is larger than the server takes."),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id and turn whatever goes wrong into a problem object."""
    given = request.headers.get("X-Request-Id", "")
    request_id = given if _REQUEST_ID_RULE.fullmatch(given) else uuid.uuid4().hex
    request[REQUEST_ID] = request_id
    try:
        response = await handler(request)
    except GatewayError as error:
        response = problem(error, request_id)
    except StoreUnavailable:
        response = problem(
            GatewayError("log_unavailable", "The log cannot be read now; try again in a moment.", retry_after=2), request_id
        )
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _http_problem(error, request_id)
    except Exception:
        log.exception("a request broke", extra={"request_id": request_id})
        if request.writer.output_size:
            # Half an answer is out: it can only be cut.
            raise
        response = problem(GatewayError("internal_error", "The server made a mistake; please try again."), request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        if QUOTA in request:
            response.headers.update(limit_headers(request[QUOTA]))
    return response


def problem(error: GatewayError, request_id: str) -> web.Response:
    """An error as RFC 9457 wants it."""
    body = problem_body(error, request_id)
    response = web.Response(body=dumps(body), status=error.status, content_type="application/problem+json")
    if "retry_after" in body:
        response.headers["Retry-After"] = str(body["retry_after"])
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, OverLimit):
        response.headers.update(limit_headers(error.quota))
    if error.turn_id:
        response.headers["X-Turn-Id"] = error.turn_id
    return response


def _http_problem(error: web.HTTPException, request_id: str) -> web.Response:
    code, detail = _HTTP_CODES.get(error.status, ("invalid_request", "The request is not valid."))
    response = problem(GatewayError(code, detail), request_id)
    if allow := error.headers.get("Allow"):
        response.headers["Allow"] = allow
    return response


async def read_json_body(request: web.Request) -> bytes:
    """The body of a JSON request. Raises `GatewayError`: `unsupported_media_type`, `body_too_large`, `invalid_json`."""
    kind = request.content_type
    if "Content-Type" in request.headers and kind != "application/json" and not kind.endswith("+json"):
        raise GatewayError("unsupported_media_type", "The body must be JSON (Content-Type: application/json).")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise GatewayError("invalid_json", "The body did not arrive in time.") from None
    except web.RequestPayloadError:
        raise GatewayError("invalid_json", "The body is not encoded as its headers say.") from None
