"""Who may pass: the caller of a request, or a `GatewayError`."""

from aiohttp import web

from gateway.access.callers import Caller, Callers
from gateway.core.errors import GatewayError
from gateway.store.base import Viewer


class Gate:
    """Tells who sends a request."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def caller(self, request: web.Request) -> Caller:
        """Raises `GatewayError` `unauthenticated`."""
        return self._callers.identify(request.headers.get("Authorization"))


def viewer(caller: Caller) -> Viewer:
    """What a caller sees of the log. Raises `GatewayError` `forbidden` for callers who have no log of their own."""
    if caller.reads_everything:
        return Viewer(caller.id, everything=True)
    if caller.id is None:
        raise GatewayError("forbidden", "The log is not open to callers without a token.")
    return Viewer(caller.id)
