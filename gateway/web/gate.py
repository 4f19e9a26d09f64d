"""Who may pass: the caller of a request, or a `GatewayError`."""

from typing import Final

from aiohttp import web

from gateway.access.callers import ADMIN, Caller, Callers
from gateway.access.guard import open_mode_guard
from gateway.access.origins import Origins
from gateway.access.sessions import Sessions
from gateway.access.users import Users
from gateway.core.errors import GatewayError
from gateway.store.base import Viewer

SESSION_COOKIE: Final = "gateway_session"
_HARMLESS: Final = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Tells who sends a request."""

    def __init__(
        self, callers: Callers, users: Users, sessions: Sessions | None, origins: Origins, *, this_machine_alone: bool
    ) -> None:
        """`origins` are those whose pages may call; `this_machine_alone`: nobody needs a token because only this machine's
        own programs can come in."""
        self._callers = callers
        self._users = users
        self._sessions = sessions
        self._origins = origins
        self._this_machine_alone = this_machine_alone

    def guard(self, request: web.Request) -> None:
        """What every request must pass, whatever it asks for. Raises `GatewayError` `forbidden`."""
        if self._this_machine_alone:
            open_mode_guard(request.headers, request.remote, request.headers.get("Host"))

    async def caller(self, request: web.Request) -> Caller:
        """Raises `GatewayError` `unauthenticated` or `forbidden`."""
        authorization = request.headers.get("Authorization")
        if authorization is None and self._sessions is not None and self._has_session(request, self._sessions):
            return ADMIN
        caller = self._callers.identify(authorization)
        if caller.kind == "user":
            await self._users.admit(caller)
        elif request.method not in _HARMLESS:
            self._check_page(request, caller, authorization)
        return caller

    def is_admin_token(self, token: str) -> bool:
        """Whether somebody who wants to sign in to the dashboard knows the token."""
        try:
            return self._callers.identify(f"Bearer {token}") is ADMIN
        except GatewayError:
            return False

    def _has_session(self, request: web.Request, sessions: Sessions) -> bool:
        """A dashboard's cookie; what changes something must come from our own pages."""
        cookie = request.cookies.get(SESSION_COOKIE)
        if cookie is None or not sessions.check(cookie):
            return False
        if request.method in _HARMLESS or is_same_origin(request):
            return True
        raise _from_elsewhere()

    def _check_page(self, request: web.Request, caller: Caller, authorization: str | None) -> None:
        """Browsers let any page send simple requests, with the password they remember or where nobody needs one, and only
        keep the answer from it: asking would still be paid for."""
        origin = request.headers.get("Origin")
        if (origin is None and "Sec-Fetch-Site" not in request.headers) or is_same_origin(request):
            return
        if caller.kind == "anonymous" and self._origins.allows(origin):
            return
        if caller.kind == "anonymous" or (authorization or "").lstrip()[:5].lower() == "basic":
            raise _from_elsewhere()


def is_same_origin(request: web.Request) -> bool:
    """Whether a browser says that its own page of this server sends the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
    return bool(host) and origin.partition("://")[2] == host


def viewer(caller: Caller) -> Viewer:
    """What a caller sees of the log. Raises `GatewayError` `forbidden` for callers who have no log of their own."""
    if caller.reads_everything:
        return Viewer(caller.id, everything=True)
    if caller.id is None:
        raise GatewayError("forbidden", "The log is not open to callers without a token.")
    return Viewer(caller.id)


def _from_elsewhere() -> GatewayError:
    return GatewayError("forbidden", "This request came from another site.")
