"""One HTTP/1.1 request and its answer on one connection: bytes are handed on as they come, in the read that brought them.

aiohttp's own client costs a third of a turn around the same bytes (a response object, its stream, a task and a wake-up a
read); its connections, with their TLS, proxies and pool, serve here all the same. HTTP is parsed by llhttp.
"""

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.engine.connector import Line

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_MOST_WITHOUT_BODY: Final = 64 * 1024
"""So many bytes in a row may be of no body: a head, the frame of a chunk, trailers."""
_SURELY_SENT: Final = 64 * 1024
_UNPACKED_AT_ONCE: Final = 256 * 1024
_LINGER_S: Final = 1.0
_GZIP_OR_ZLIB: Final = 47
_LENIENT: Final = {"lenient_headers": True, "lenient_optional_cr_before_lf": True, "lenient_spaces_after_chunk_size": True}
"""What servers get wrong and harms nobody, as in aiohttp's client (RFC 9112: 2.2, 5.1, 5.2, 7.1.1)."""


class BrokenError(Exception):
    """The answer is no HTTP, or ended before its end."""


class Receiver(Protocol):
    """Takes an answer. What it raises ends the exchange, and is raised where that is waited for."""

    def head(self, status: int, headers: Mapping[str, str]) -> float | None:
        """The final status and the headers, their names in lower case; returns how many seconds the body is worth (None: any)."""
        ...

    def body(self, data: bytes) -> bool:
        """Bytes of the body that came together, unpacked. True: it has heard enough, and is told no more."""
        ...

    def end(self) -> None:
        """The body is whole."""
        ...


class Exchange:
    """Sends `request` when made; `ended` is done once the receiver has heard enough, the body is whole, or something broke.

    The connection goes back to its pool when the body is whole, for which it is given a moment after the receiver has heard
    enough. `abort` closes it at once.
    """

    __slots__ = (
        "_bare",
        "_complete",
        "_connection",
        "_headers",
        "_large",
        "_line",
        "_parser",
        "_pieces",
        "_receiver",
        "_reusable",
        "_status",
        "_timer",
        "_told",
        "_unpack",
        "_until_close",
        "ended",
    )

    def __init__(self, connection: "Connection", request: bytes, receiver: Receiver) -> None:
        line = connection.protocol
        assert isinstance(line, Line), "the connector makes no others"
        self.ended: asyncio.Future[None] = line.loop.create_future()
        self._connection: Connection | None = connection
        self._line = line
        self._receiver: Receiver | None = receiver
        # It holds this one, which holds it: such a ring would wait for the collector, so it is cut at the end.
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENT)
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._status = self._bare = 0
        self._told = self._complete = self._reusable = self._until_close = False
        self._unpack: zlib._Decompress | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._large = len(request) > _SURELY_SENT
        line.hear(self)
        transport = connection.transport
        if transport is None:
            self.lost(None)
        elif self._connection is not None:
            transport.write(request)

    def abort(self) -> None:
        """Close the connection, unless it went back already."""
        self._leave(reusable=False)

    def received(self, data: bytes) -> None:
        """See `Hearer`."""
        parser = self._parser
        if parser is None:
            return
        broken: Exception | None = None
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            broken = BrokenError(repr(error))
        self._bare = 0 if self._pieces else self._bare + len(data)
        if self._bare > _MOST_WITHOUT_BODY:
            broken = BrokenError("the head is too long")
        self._tell()
        if self._complete:
            self._leave(reusable=broken is None and self._reusable)
        elif broken is not None:
            self._fail(broken)

    def lost(self, error: BaseException | None) -> None:
        """See `Hearer`."""
        if self._until_close and error is None:
            self._complete = True
            self._tell()
        self._fail(BrokenError("the connection was closed") if error is None else error)

    def on_message_begin(self) -> None:
        """See `httptools.HttpResponseParser`, also for the next four."""
        # An answer to a question that nobody asked: whoever begins one is not asked again on this connection.
        self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:
            self._headers[name.decode("latin-1").rstrip().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 100:
            raise BrokenError(f"the status {status}")
        if status < 200:
            # An interim answer; the real one is to follow (RFC 9110, section 15.2).
            self._headers.clear()
            return
        self._status = status
        coding = self._headers.get("transfer-encoding", "").rpartition(",")[2].strip().lower()
        self._until_close = coding != "chunked" and "content-length" not in self._headers and status not in (204, 304)
        if (packed := self._headers.get("content-encoding", "").strip().lower()) not in ("", "identity"):
            # Against our wish, and understood all the same where it is one of the two usual ones.
            self._unpack = zlib.decompressobj(_GZIP_OR_ZLIB)
            if packed not in ("gzip", "x-gzip", "deflate"):
                raise BrokenError(f"a body packed as {packed}")

    def on_body(self, piece: bytes) -> None:
        if not self._complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._status and not self._complete:
            self._complete = True
            # Known here alone: the parser makes itself ready for the next answer.
            self._reusable = self._parser.should_keep_alive()

    def _tell(self) -> None:
        try:
            self._hand_on()
        except Exception as error:  # noqa: BLE001 - raised where the end is waited for
            self._fail(error)

    def _hand_on(self) -> None:
        """Tell the receiver what one read brought."""
        pieces, self._pieces = self._pieces, []
        receiver = self._receiver
        if receiver is None or not self._status:
            return
        if not self._told:
            self._told = True
            patience_s = receiver.head(self._status, self._headers)
            if patience_s is not None and not self._complete:
                self._timer = self._line.loop.call_later(patience_s, self._enough)
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            for piece in (data,) if self._unpack is None else self._unpacked(self._unpack, data):
                if receiver.body(piece):
                    self._enough()
                    return
        if self._complete:
            receiver.end()
            self._enough()

    def _unpacked(self, unpack: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
        """Piece by piece: a small body may unpack to a huge one, or be several (RFC 1952, section 2.2). Raises `BrokenError`."""
        while data:
            if unpack.eof:
                unpack = self._unpack = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = unpack.decompress(data, _UNPACKED_AT_ONCE)
            except zlib.error as error:
                raise BrokenError("the body does not unpack") from error
            data = unpack.unused_data or unpack.unconsumed_tail
            if piece:
                yield piece

    def _enough(self) -> None:
        self._receiver = None
        if not self.ended.done():
            self.ended.set_result(None)
        if not self._complete:
            self._stop_timer()
            self._timer = self._line.loop.call_later(_LINGER_S, self.abort)

    def _fail(self, error: BaseException) -> None:
        self._receiver = None
        if not self.ended.done():
            self.ended.set_exception(error)
        self._leave(reusable=False)

    def _leave(self, *, reusable: bool) -> None:
        self._receiver = None
        self._stop_timer()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._line.hearer = self._parser = None
        transport = connection.transport
        # A large request that is refused may not be sent to its end; TLS does not tell.
        reusable = reusable and not (self._large and self._status >= 400)
        if reusable and transport is not None and not transport.get_write_buffer_size():
            connection.release()
            return
        if transport is not None:
            # Closing would send the rest first, perhaps to somebody who does not read.
            transport.abort()
        connection.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
