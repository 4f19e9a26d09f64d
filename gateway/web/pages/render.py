"""A page: a template in the reader's language, with the headers of a page."""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.core.errors import KINDS, GatewayError
from gateway.store.base import StoreUnavailable
from gateway.web.gate import SESSION_COOKIE
from gateway.web.pages import formats
from gateway.web.pages.assets import assets
from gateway.web.pages.language import COOKIE, language_of, languages
from gateway.web.services import SERVICES

LOGIN: Final = "/dashboard/login"
# A form sent from a page without a referrer would carry `Origin: null`, and could not be told from another site's.
_HEADERS: Final = {"Referrer-Policy": "same-origin", "Vary": "Cookie, Accept-Language, Accept"}
_YEAR_S: Final = 365 * 86_400

Handler = Callable[[web.Request], Awaitable[web.Response]]


def page(request: web.Request, template: str, status: int = 200, **given: Any) -> web.Response:
    """Render a template of `templates/`."""
    services, language = request.app[SERVICES], language_of(request)
    body = (
        _templates()
        .get_template(template)
        .render(
            given,
            t=language,
            languages=languages().values(),
            asset=assets().address,
            path=request.path,
            again=lambda **changes: _again(request, changes),
            form_token=form_token(request),
            version=services.version,
            simulated=services.simulated,
        )
    )
    response = web.Response(text=body, status=status, content_type="text/html", headers=_HEADERS)
    if request.query.get("lang") == language.code:
        response.set_cookie(COOKIE, language.code, max_age=_YEAR_S, samesite="Lax", httponly=True)
    return response


def for_operators(handler: Handler) -> Handler:
    """A page for whoever may read the whole log; browsers of others are shown the way to the login."""

    async def guarded(request: web.Request) -> web.Response:
        try:
            await _operator(request)
            return await handler(request)
        except GatewayError as error:
            failure = error
        except StoreUnavailable:
            failure = GatewayError("log_unavailable", "The log cannot be read now; try again in a moment.", retry_after=2)
        if not wants_page(request):
            raise failure
        if failure.code == "unauthenticated":
            return see_other(f"{LOGIN}?{urlencode({'next': request.path_qs})}")
        return error_page(request, failure)

    return guarded


async def _operator(request: web.Request) -> None:
    """Raises `GatewayError`: `unauthenticated`, `forbidden`."""
    caller = await request.app[SERVICES].gate.caller(request)
    if not caller.reads_everything:
        raise GatewayError("forbidden", "Only the operator may see this.")


def error_page(request: web.Request, error: GatewayError) -> web.Response:
    """An error as people see it."""
    return page(request, "error.html", error.status, error=error, title=KINDS[error.code].title)


def wants_page(request: web.Request) -> bool:
    """Whether a person's browser asks, and not a program."""
    return "text/html" in request.headers.get("Accept", "")


def see_other(address: str) -> web.Response:
    """Send a browser on."""
    return web.Response(status=303, headers={"Location": address, **_HEADERS})


def form_token(request: web.Request) -> str | None:
    """What the forms of this request's session carry; None where there is no session."""
    sessions, cookie = request.app[SERVICES].accounts.sessions, request.cookies.get(SESSION_COOKIE)
    return sessions.form_token(cookie) if sessions is not None and cookie and sessions.check(cookie) else None


def _again(request: web.Request, changes: dict[str, Any]) -> str:
    """This page's address with other parameters; None removes one."""
    query = {name: value for name, value in request.query.items() if value} | changes
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{request.path}?{text}" if text else request.path


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters.update(
        number=formats.number,
        compact=formats.compact,
        usd=formats.usd,
        duration=formats.duration,
        moment=formats.moment,
        pretty=formats.pretty,
    )
    found.tests["link"] = formats.is_link
    return found
