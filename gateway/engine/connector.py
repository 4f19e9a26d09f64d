"""Pooled connections to providers: aiohttp's, whose bytes an exchange may take over while it lasts."""

import asyncio
import functools
import select
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Hearer(Protocol):
    """Whoever has a connection to itself."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        ...

    def lost(self, error: BaseException | None) -> None:
        """The connection is gone, by its proper end (None) or broken."""
        ...


class Line(ResponseHandler):
    """One connection, `used` from its first request on. Without a `hearer` its bytes are aiohttp's, for TLS, proxies and
    requests of its own."""

    hearer: Hearer | None = None
    used = False
    _look: "select.poll | None" = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        held = transport.get_extra_info("socket")
        if held is not None:
            self._look = select.poll()
            self._look.register(held.fileno(), select.POLLIN)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it lives on."""
        return self._loop

    @property
    def silent(self) -> bool:
        """Whether it is open and has nothing to read."""
        transport = self.transport
        return transport is not None and not transport.is_closing() and self._look is not None and not self._look.poll(0)

    def hear(self, hearer: Hearer) -> None:
        """Give it the connection, and what came before anybody asked: a busy server may refuse whoever connects."""
        self.hearer = hearer
        if self._tail:
            # What is asked now may get an answer of its own, later.
            self.force_close()
            self._drain_tail()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.hearer is None:
            super().data_received(data)
        else:
            self.hearer.received(data)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        super().eof_received()
        if self.hearer is not None and self.transport is not None:
            # No answer is to come; closing would first send all of the request, perhaps to somebody who does not read.
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self.hearer is not None:
            self.hearer.lost(exc)


class Connector(aiohttp.TCPConnector):
    """Looks at a kept-alive connection before it is used again.

    A server closes idle connections when it likes; the event loop may not have been told yet, and a request written to such
    a connection fails although nobody has seen it. So a connection out of the pool that has something to read, an end or
    bytes nobody asked for, is dropped and another one taken: nothing was sent, nothing counts as a try.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(Line, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list["Trace"],
        timeout: "ClientTimeout",  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> "Connection":
        """A connection to send one request on."""
        while True:
            connection = await super().connect(req, traces, timeout)
            line = connection.protocol
            assert isinstance(line, Line), "the factory makes no others"
            if not line.used or (not line.should_close and line.silent):
                line.used = True
                return connection
            connection.close()


def destination(url: str) -> aiohttp.ClientRequest:
    """Where `connect` is to connect for a POST to `url`, by way of the proxy that the environment names for it, if any."""
    target = URL(url)
    proxy = None if target.host is None or proxy_bypass(target.host) else getproxies().get(target.scheme)
    return aiohttp.ClientRequest("POST", target, proxy=URL(proxy) if proxy else None)
