"""A connection pool that never hands out a connection which the server has closed."""

import select
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Connector(aiohttp.TCPConnector):
    """Looks at a kept-alive connection before it is used again.

    A server closes idle connections when it likes; the event loop may not have been told yet, and a request written to such
    a connection fails although nobody has seen it. So a connection out of the pool that has something to read, an end or
    bytes nobody asked for, is dropped and another one taken: nothing was sent, nothing counts as a try.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: "ClientRequest",
        traces: list["Trace"],
        timeout: "ClientTimeout",  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> "Connection":
        """A connection to send one request on."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or protocol not in self._used:
                if protocol is not None:
                    self._used.add(protocol)
                return connection
            if not _readable(protocol):
                return connection
            connection.close()


def _readable(protocol: "ResponseHandler") -> bool:
    transport = protocol.transport
    held = transport.get_extra_info("socket") if transport is not None else None
    descriptor = held.fileno() if held is not None else -1
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
