"""Who may pass: the caller of a request, or a `GatewayError`."""

from aiohttp import web

from gateway.access.callers import Caller, Callers
from gateway.access.guard import open_mode_guard
from gateway.core.errors import GatewayError
from gateway.store.base import Viewer


class Gate:
    """Tells who sends a request."""

    def __init__(self, callers: Callers, *, this_machine_alone: bool) -> None:
        """`this_machine_alone`: nobody needs a token because only this machine's own programs can come in."""
        self._callers = callers
        self._this_machine_alone = this_machine_alone

    def caller(self, request: web.Request) -> Caller:
        """Raises `GatewayError` `unauthenticated` or `forbidden`."""
        if self._this_machine_alone:
            open_mode_guard(request.headers, request.remote, request.headers.get("Host"))
        return self._callers.identify(request.headers.get("Authorization"))


def viewer(caller: Caller) -> Viewer:
    """What a caller sees of the log. Raises `GatewayError` `forbidden` for callers who have no log of their own."""
    if caller.reads_everything:
        return Viewer(caller.id, everything=True)
    if caller.id is None:
        raise GatewayError("forbidden", "The log is not open to callers without a token.")
    return Viewer(caller.id)
