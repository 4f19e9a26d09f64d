"""Clients' connections: how many there may be, how long one may stay silent, and what is answered to what is no HTTP."""

import asyncio
import logging
import resource
import socket
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError

from gateway.core.errors import GatewayError
from gateway.core.ids import random_digits
from gateway.core.jsontext import dumps
from gateway.web.edge import DEFAULT_HEADERS, PROBLEM_JSON, SERVER_NAME
from gateway.web.listening import BACKLOG, refuse_newcomers
from gateway.wire.frames import problem_body

log = logging.getLogger(__name__)

_ADDRESS: Final = "The address is not valid; letters beyond ASCII must be percent-encoded (curl: -G --data-urlencode 'q=…')."

HEAD_TIMEOUT_S: Final = 30.0
# Longer than load balancers keep an idle connection, so that they close it first (those of Google Cloud after 600 s).
KEEPALIVE_S: Final = 620.0
_LINGER_S: Final = 5.0
_RESERVED: Final = 256
_FEWEST: Final = 64
_MOST_DESCRIPTORS: Final = 262_144
_LOOK_AGAIN_S: Final = 1.0
_LOOK_S: Final = 0.1
# How long an idle connection is left open at the end: longer than the proxies of deploy/ keep one, so that it is they who close
# it, and none sends a request on one that is just being closed.
LAST_REQUESTS_S: Final = 2.0


class Crowd:
    """Who is connected. When it is full, those on whose connection nothing is under way make room, the oldest first.

    `leaving`: nobody comes any more, and each answer whose head can still say so is the last on its connection; `closing`: every
    answer is.
    """

    def __init__(self, most: int) -> None:
        self.leaving = self.closing = False
        self._most = most
        self._inside: dict[Connection, None] = {}
        self._looked = float("-inf")

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, connection: "Connection") -> bool:
        """Let a connection in; False when everybody inside is busy."""
        if len(self._inside) >= self._most and not self._make_room():
            return False
        self._inside[connection] = None
        return True

    def idle(self) -> list["Connection"]:
        """The connections on which nothing is under way, the oldest first."""
        return [connection for connection in self._inside if connection.idle]

    def leave(self, connection: "Connection") -> None:
        """A connection was closed."""
        self._inside.pop(connection, None)

    def _make_room(self) -> bool:
        """Close some at once, so that looking for them pays for many who come; when all are busy, do not look again at once."""
        now = asyncio.get_running_loop().time()
        if now - self._looked < _LOOK_AGAIN_S:
            return False
        idle = self.idle()[: self._most // 10 + 1]
        log.warning("%d connections are open, as many as may be; %d idle ones are closed", len(self._inside), len(idle))
        for connection in idle:
            self.leave(connection)
            connection.force_close()
        if not idle:
            self._looked = now
        return bool(idle)


class Connection(web.RequestHandler):
    """One client's connection: its first request must come within `head_s` seconds."""

    __slots__ = ("_crowd", "_head_s", "_patience")

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop, crowd: Crowd, head_s: float) -> None:
        options: dict[str, Any] = {"access_log": None, "keepalive_timeout": KEEPALIVE_S, "lingering_time": _LINGER_S}
        super().__init__(manager, loop=loop, **options)
        self._crowd = crowd
        self._head_s = head_s
        self._patience: asyncio.TimerHandle | None = None

    @property
    def leaving(self) -> bool:
        """Whether each answer that begins now is the last."""
        return self._crowd.leaving

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, of which some may have come."""
        return self._waiter is not None and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if self._crowd.enter(self):
            self._patience = self._loop.call_later(self._head_s, self._give_up)
        else:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        if self._patience is not None:
            self._patience.cancel()
        self._crowd.leave(self)
        super().connection_lost(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """See `BaseProtocol`. Each body that is read says so; where nothing was held back there is nothing to parse again."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never reached a handler. The bytes that came are not repeated: not to the client, not in the log."""
        if request.writer.output_size:
            raise ConnectionError("half an answer is out")
        request_id = random_digits()
        if isinstance(exc, HttpProcessingError):
            log.debug("what is no HTTP was refused: %s", type(exc).__name__, extra={"request_id": request_id})
            detail = _ADDRESS if isinstance(exc, InvalidURLError) else "The request is not valid HTTP."
            body = problem_body(GatewayError("invalid_request", detail), request_id) | {"status": 400}
        else:
            log.error("a request broke at the edge", exc_info=exc, extra={"request_id": request_id})
            body = problem_body(GatewayError("internal_error", "The server made a mistake; please try again."), request_id)
        headers = {"Server": SERVER_NAME, "X-Request-Id": request_id, **DEFAULT_HEADERS}
        response = web.Response(body=dumps(body), status=body["status"], content_type=PROBLEM_JSON, headers=headers)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See `RequestHandler`."""
        # What has not said so stays open, for the next answer to say it: whoever was not told may be sending a request already.
        if self._crowd.closing or (self._crowd.leaving and not resp.prepared):
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """See `RequestHandler`. A body that is not what its head says tells of nothing that broke here."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def _give_up(self) -> None:
        if not self._request_count:
            self.force_close()


class Door(web.BaseSite):
    """Accepts the connections of a listening socket, `most` at a time; of one that is `shared` other processes do, too."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        most: int,
        head_s: float = HEAD_TIMEOUT_S,
        *,
        shared: bool = False,
    ) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._listener = listener
        self._shared = shared
        self._head_s = head_s
        self.crowd = Crowd(most)

    @property
    def name(self) -> str:
        """Where it listens."""
        return str(self._listener.getsockname())

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._listener, backlog=BACKLOG)

    async def retire(self, patience_s: float) -> None:
        """Accept no more, and return when those inside have got their answers and are gone, or after `patience_s`.

        A kept connection may bring one more request, whose answer says that it is the last. For the first third of the time it is
        left open for that, until it has been idle for a while; then it is closed with its answer, as what is begun late could not
        be finished. May be called again.
        """
        crowd, loop = self.crowd, asyncio.get_running_loop()
        crowd.leaving = True
        if self in self._runner.sites:
            await self._shut()
        began = loop.time()
        # Looks, and not seconds: a slow loop hears late of a request.
        looks: dict[Connection, int] = {}
        while crowd and (passed := loop.time() - began) < patience_s:
            crowd.closing |= passed > patience_s / 3
            looks = {connection: looks.get(connection, 0) + 1 for connection in crowd.idle()}
            for connection, number in looks.items():
                if crowd.closing or number * _LOOK_S > LAST_REQUESTS_S:
                    connection.force_close()
            await asyncio.sleep(_LOOK_S)

    async def _shut(self) -> None:
        """Stop to listen. Who has connected is let in: closing the socket would reset them, with what they have sent."""
        loop = asyncio.get_running_loop()
        if not self._shared:
            await refuse_newcomers(self._listener)
        with self._listener.dup() as last:
            last.setblocking(False)
            await self.stop()
            for _ in range(BACKLOG):
                try:
                    client, _ = last.accept()
                except BlockingIOError:
                    return
                except ConnectionAbortedError:
                    continue
                client.setblocking(False)
                await loop.connect_accepted_socket(self._connection, client)

    def _connection(self) -> Connection:
        server = self._runner.server
        assert server is not None, "the runner is set up"
        return Connection(server, asyncio.get_running_loop(), self.crowd, self._head_s)


def is_last(request: web.BaseRequest) -> bool:
    """Whether an answer that begins now is the last on its connection."""
    return isinstance(request.protocol, Connection) and request.protocol.leaving


def most_connections() -> int:
    """How many clients this process can serve: half of the descriptors it may have, as a turn needs a second one.

    Raises the soft limit of descriptors to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    known = _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, _MOST_DESCRIPTORS)
    return max(_FEWEST, (known - _RESERVED) // 2)
