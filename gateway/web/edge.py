"""What every request passes: an id, its body within bounds, errors as problem objects, and headers that browsers heed."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from gateway.access.quota import OverLimit, Quota, limit_headers
from gateway.core.errors import ErrorCode, GatewayError
from gateway.core.ids import random_digits
from gateway.core.jsontext import dumps
from gateway.store.base import StoreUnavailable
from gateway.web.services import SERVICES
from gateway.wire.frames import problem_body, whole_seconds
from gateway.wire.openai_chunks import error_body, error_status

log = logging.getLogger(__name__)

SERVER_NAME: Final = "m3ajem-gateway"
PROBLEM_JSON: Final = "application/problem+json"
OPENAI_PATHS: Final = "/v1/"
"""Under it errors have the shape of OpenAI's."""
BODY_TIMEOUT_S: Final = 30.0
BODY_BYTES_PER_S: Final = 8 * 1024
_READ_AT_ONCE: Final = 256 * 1024
REQUEST_ID: Final = web.RequestKey("request_id", str)
QUOTA: Final = web.RequestKey("quota", Quota)
_REQUEST_ID_RULE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HTTP_CODES: Final[dict[int, tuple[ErrorCode, str]]] = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("body_too_large", "The body is larger than the server takes."),
}

# What an answer says unless it says otherwise itself: nobody keeps it, frames it, or takes it for a page or a script.
DEFAULT_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_DEFAULTS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

# A multidict folds the case of any other string at each look-up.
_DEFAULTS: Final = tuple((istr(name), value) for name, value in DEFAULT_HEADERS.items())
_ALL_PAGE_DEFAULTS: Final = (*((istr(name), value) for name, value in _PAGE_DEFAULTS.items()), *_DEFAULTS)
_X_REQUEST_ID: Final = istr("X-Request-Id")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id and turn whatever goes wrong into a problem object."""
    given = request.headers.get(_X_REQUEST_ID)
    request_id = given if given and _REQUEST_ID_RULE.fullmatch(given) else random_digits()
    request[REQUEST_ID] = request_id
    try:
        request.app[SERVICES].gate.guard(request)
        return await handler(request)
    except GatewayError as error:
        return _failure(request, error)
    except StoreUnavailable:
        away = GatewayError("log_unavailable", "The log cannot be read now; try again in a moment.", retry_after=2)
        return _failure(request, away)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_failure(request, error)
    except Exception:
        log.exception("a request broke", extra={"request_id": request_id})
        if request.writer.output_size:
            # Half an answer is out: it can only be cut.
            raise
        return _failure(request, GatewayError("internal_error", "The server made a mistake; please try again."))


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Put on every answer, also on the head of a stream, what it has in common with all others."""
    headers = response.headers
    headers[hdrs.SERVER] = SERVER_NAME
    if REQUEST_ID in request:
        headers[_X_REQUEST_ID] = request[REQUEST_ID]
    if QUOTA in request:
        headers.update(limit_headers(request[QUOTA]))
    defaults = _ALL_PAGE_DEFAULTS if headers.get(hdrs.CONTENT_TYPE, "").startswith("text/html") else _DEFAULTS
    for name, value in defaults:
        if name not in headers:
            headers[name] = value


def _failure(request: web.Request, error: GatewayError) -> web.Response:
    """An error as RFC 9457 wants it, or as clients of OpenAI's format do."""
    if request.path.startswith(OPENAI_PATHS):
        response = _openai_error(error)
    else:
        body = problem_body(error, request[REQUEST_ID])
        response = web.Response(body=dumps(body), status=error.status, content_type=PROBLEM_JSON)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(whole_seconds(error.retry_after))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = _challenge(request)
    if isinstance(error, OverLimit):
        response.headers.update(limit_headers(error.quota))
    if error.turn_id:
        response.headers["X-Turn-Id"] = error.turn_id
    return response


def _openai_error(error: GatewayError) -> web.Response:
    """`x-should-retry` keeps OpenAI's clients from asking again where that would change nothing, such as over a daily limit."""
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    status = error_status(error.code, error.status)
    return web.Response(body=dumps(error_body(error)), status=status, content_type="application/json", headers=headers)


def _challenge(request: web.Request) -> str:
    """Somebody who opens an address in a browser is asked for the password; programs are not."""
    return 'Basic realm="gateway", charset="UTF-8"' if request.headers.get("Sec-Fetch-Mode") == "navigate" else "Bearer"


def _http_failure(request: web.Request, error: web.HTTPException) -> web.Response:
    code, detail = _HTTP_CODES.get(error.status, ("invalid_request", "The request is not valid."))
    if code == "not_found" and request.path.startswith(OPENAI_PATHS):
        detail = "There is nothing at this address; of OpenAI's there are /v1/chat/completions and /v1/models."
    response = _failure(request, GatewayError(code, detail))
    if allow := error.headers.get("Allow"):
        response.headers["Allow"] = allow
    return response


async def read_json_body(request: web.Request) -> bytes:
    """The body of a JSON request. Raises `GatewayError`: `unsupported_media_type`, `body_too_large`, `invalid_json`."""
    # Nearly every client says it in these very words, which then need not be parsed.
    if request.headers.get(hdrs.CONTENT_TYPE, "application/json") != "application/json":
        kind = request.content_type
        if kind != "application/json" and not kind.endswith("+json"):
            raise GatewayError("unsupported_media_type", "The body must be JSON (Content-Type: application/json).")
    return await read_body(request)


async def read_body(request: web.Request) -> bytes:
    """The body of a request, whatever it holds. Raises `GatewayError`: `body_too_large`, `invalid_json`."""
    try:
        return await _read(request)
    except TimeoutError:
        raise GatewayError("invalid_json", "The body did not arrive in time.") from None
    except web.RequestPayloadError:
        raise GatewayError("invalid_json", "The body is not encoded as its headers say.") from None


async def _read(request: web.Request) -> bytes:
    """The whole body; what comes buys it time, so that a photo may come over a slow line and nobody can dawdle for ever."""
    limit = request.client_max_size
    if request.content.is_eof():
        # It came together with the head, as most do: nothing to wait for.
        whole = request.content.read_nowait()
        if len(whole) > limit:
            raise GatewayError("body_too_large", "The body is larger than the server takes.")
        return whole
    request.content.set_read_chunk_size(_READ_AT_ONCE)
    body = bytearray()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout_at(began + BODY_TIMEOUT_S) as deadline:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > limit:
                raise GatewayError("body_too_large", "The body is larger than the server takes.")
            deadline.reschedule(began + BODY_TIMEOUT_S + len(body) / BODY_BYTES_PER_S)
    return bytes(body)
