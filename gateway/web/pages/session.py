"""Signing in to the dashboard with the admin's token, and out again."""

import re
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.access.sessions import SESSION_S
from gateway.core.errors import GatewayError
from gateway.web.edge import QUOTA, read_body
from gateway.web.gate import SESSION_COOKIE, is_same_origin
from gateway.web.pages.render import LOGIN, error_page, form_token, page, see_other, wants_page
from gateway.web.services import SERVICES, Services

HOME: Final = "/dashboard"
_OUR_PAGE: Final = re.compile(r"/(?:dashboard|playground)(?:[/?][!-\[\]-~]*)?")
_MAX_FORM_BYTES: Final = 20_000


async def login_page(request: web.Request) -> web.Response:
    """The form; who needs no login is sent on."""
    aim = _aim(request.query.get("next"))
    services = request.app[SERVICES]
    try:
        caller = await services.gate.caller(request)
    except GatewayError:
        return _form(request, aim)
    return see_other(aim) if caller.reads_everything else _form(request, aim)


async def login(request: web.Request) -> web.Response:
    """Begin a session. Programs get a problem object where people get the form again."""
    sent: dict[str, str] = {}
    try:
        _refuse_other_sites(request)
        await _count(request, request.app[SERVICES])
        sent = await _sent(request)
        cookie = _signed_in(request.app[SERVICES], sent)
    except GatewayError as error:
        if not wants_page(request):
            raise
        return _form(request, _aim(sent.get("next")), error)
    response = see_other(_aim(sent.get("next")))
    response.set_cookie(SESSION_COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="Strict", secure=_over_https(request))
    return response


async def logout(request: web.Request) -> web.Response:
    """End the session of a form that it made."""
    try:
        await _signed_out(request)
    except GatewayError as error:
        if not wants_page(request):
            raise
        return error_page(request, error)
    response = see_other(LOGIN)
    response.del_cookie(SESSION_COOKIE, httponly=True, samesite="Strict", secure=_over_https(request))
    return response


def _signed_in(services: Services, sent: dict[str, str]) -> str:
    """A new session's cookie. Raises `GatewayError` `unauthenticated`."""
    sessions = services.accounts.sessions
    if sessions is None or not services.gate.is_admin_token(sent.get("token", "").strip()):
        raise GatewayError("unauthenticated", "That is not the admin's token.")
    return sessions.create()


async def _signed_out(request: web.Request) -> None:
    """Raises `GatewayError`: `unauthenticated`, `forbidden`."""
    services = request.app[SERVICES]
    await services.gate.caller(request)
    sent = await _sent(request)
    sessions, cookie = services.accounts.sessions, request.cookies.get(SESSION_COOKIE, "")
    if sessions is None or not form_token(request) or not sessions.form_matches(cookie, sent.get("form_token", "")):
        raise GatewayError("forbidden", "This form belongs to no session.")
    sessions.end(cookie)


def _form(request: web.Request, aim: str, error: GatewayError | None = None) -> web.Response:
    possible = request.app[SERVICES].accounts.sessions is not None
    status = 200 if error is None else error.status
    response = page(request, "login.html", status, aim=aim, error=error, possible=possible)
    if error is not None and error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return response


def _refuse_other_sites(request: web.Request) -> None:
    """Nobody is to be signed in by another site's form. Raises `GatewayError` `forbidden`."""
    told = "Sec-Fetch-Site" in request.headers or "Origin" in request.headers
    if told and not is_same_origin(request):
        raise GatewayError("forbidden", "This request came from another site.")


async def _count(request: web.Request, services: Services) -> None:
    address = services.accounts.addresses.of(request.remote, request.headers.getall("X-Forwarded-For", []))
    quota = await services.rates.sign_in(address)
    if quota is not None:
        request[QUOTA] = quota


async def _sent(request: web.Request) -> dict[str, str]:
    """The fields of a form. Raises `GatewayError`: `body_too_large`, `invalid_json`."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    if (request.content_length or 0) > _MAX_FORM_BYTES or len(body := await read_body(request)) > _MAX_FORM_BYTES:
        raise GatewayError("body_too_large", "The form is larger than any of ours.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _aim(address: str | None) -> str:
    """Where to go after signing in: one of our own pages."""
    return address if address and _OUR_PAGE.fullmatch(address) else HOME


def _over_https(request: web.Request) -> bool:
    """Whether the browser came over https, itself or to a proxy in front."""
    forwarded = request.headers.get("X-Forwarded-Proto", "") + request.headers.get("Forwarded", "")
    return request.secure or "https" in forwarded.lower()
