"""One HTTP call to a provider: bytes in, events out, every failure an `UpstreamError`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished, ReasoningDelta, SourceFound, TextDelta, ToolCalled
from gateway.engine.connector import Connector
from gateway.engine.exchange import BrokenError, Exchange
from gateway.engine.outgoing import Address, Message, Outgoing
from gateway.engine.silence import SilenceTimeout
from gateway.providers.base import Provider, UpstreamRequest, decode
from gateway.wire.sse import Frame, SseDecoder

if TYPE_CHECKING:
    from aiohttp.connector import Connection

MAX_ERROR_BYTES: Final = 64 * 1024
_OUTPUT: Final = (TextDelta, ReasoningDelta, ToolCalled, SourceFound)
_TERMINAL: Final = (Finished, Failed)
_NO_STREAM: Final = ("application/json", "text/html")
_HEAD_FRAMES: Final = 8
_ERROR_BODY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the first output, between bytes."""

    connect_s: float
    first_token_s: float
    idle_s: float


def open_session(timeouts: Timeouts, connections_per_host: int = 0) -> aiohttp.ClientSession:
    """A client session over pooled, kept-alive connections."""
    # Name look-up and TLS count as connecting, and so would waiting in line for a connection where their number is bounded.
    connect = None if connections_per_host else timeouts.connect_s
    return aiohttp.ClientSession(
        connector=Connector(limit=0, limit_per_host=connections_per_host, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=timeouts.connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "m3ajem-gateway"},
        trust_env=True,
    )


Heard = Callable[[Mapping[str, str]], None]
Take = Callable[[list[Event]], bool]


def _ignored(_: Mapping[str, str]) -> None:
    pass


class Upstream:
    """Makes single calls; it neither retries nor chooses."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts, max_reply_bytes: int) -> None:
        assert isinstance(session.connector, Connector), "the session is one of `open_session`"
        self._connector = session.connector
        self._connecting = session.timeout
        self._timeouts = timeouts
        # JSON around the text, escapes included, may be several times the text.
        self._max_bytes = max_reply_bytes * 8
        self._outgoing = Outgoing()

    async def whole(self, provider: Provider, request: UpstreamRequest, heard: Heard = _ignored) -> list[Event]:
        """Ask for a whole reply; the last event is terminal. `heard` gets the head of a good reply."""
        answer = _Answer(provider, heard, self._max_bytes)
        try:
            await self._call(self._outgoing.of(request), answer)
        except (aiohttp.ClientError, OSError, BrokenError) as error:
            raise answer.refusal() or _as_upstream_error(error) from error
        return answer.reply()

    async def stream(self, provider: Provider, request: UpstreamRequest, take: Take, heard: Heard = _ignored) -> None:
        """Ask for a streamed reply; `take` gets its events as they come, those of one read together, the last one terminal.

        `take` is called from the read itself, and tells whether it has had enough: then the call is over. A break, or silence,
        behind a reply's finish reason takes nothing from it.
        """
        answer = _Stream(provider, heard, self._max_bytes, take)
        try:
            message = self._outgoing.of(request)
            # What was asked may be long, and the answer may take long: nobody needs it once it is sent.
            del request
            async with SilenceTimeout(self._timeouts.first_token_s) as guard:
                answer.listening = _Listening(guard, self._timeouts.idle_s)
                await self._call(message, answer)
        except (aiohttp.ClientError, OSError, BrokenError) as error:
            rest = answer.rest()
            if _says_nothing(rest[-1]):
                raise answer.refusal() or _as_upstream_error(error) from error
            take(rest)

    async def _call(self, message: Message, answer: "_Answer") -> None:
        exchange = Exchange(await self._connect(message.address), message.take(), answer)
        try:
            await exchange.ended
        except BaseException:
            exchange.abort()
            raise
        finally:
            # An error raised here holds this frame, and the exchange holds the error: such a ring would wait for the collector.
            del exchange
        if (refusal := answer.refusal()) is not None:
            raise refusal

    async def _connect(self, address: Address) -> "Connection":
        try:
            return await self._connector.connect(address.destination, [], self._connecting)
        except TimeoutError as error:
            raise UpstreamError("provider_timeout", "The provider could not be reached in time.", kind="connect") from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamError("provider_error", "The provider could not be reached.", kind="connect") from error


class _Answer:
    """What a call brings: a refusal, or a whole reply; `gateway.engine.exchange.Receiver`."""

    __slots__ = ("_data", "_headers", "_heard", "_max_bytes", "_provider", "_status")

    def __init__(self, provider: Provider, heard: Heard, max_bytes: int) -> None:
        self._provider = provider
        self._heard = heard
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._data = bytearray()

    def head(self, status: int, headers: Mapping[str, str]) -> float | None:
        """The status of a refusal says enough: its body is not waited for long."""
        self._status, self._headers = status, headers
        if status != 200:
            return _ERROR_BODY_S
        self._heard(headers)
        return None

    def body(self, data: bytes) -> bool:
        self._data += data
        if self._status != 200:
            return len(self._data) >= MAX_ERROR_BYTES
        self._check(len(self._data))
        return False

    def end(self) -> None:
        pass

    def reply(self) -> list[Event]:
        """The events of a whole reply."""
        return self._provider.decode_reply(bytes(self._data))

    def refusal(self) -> UpstreamError | None:
        """The provider's error, if it is one."""
        if self._status in (0, 200):
            return None
        return self._provider.decode_error(self._status, self._headers, bytes(self._data[:MAX_ERROR_BYTES]))

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise _broken("The provider sent more than the gateway can hold.")


class _Stream(_Answer):
    """A streamed reply; a whole one where the provider sends that instead."""

    __slots__ = ("_decoder", "_frames", "_size", "_take", "listening")

    def __init__(self, provider: Provider, heard: Heard, max_bytes: int, take: Take) -> None:
        super().__init__(provider, heard, max_bytes)
        self._decoder = provider.decoder()
        self._take = take
        self._frames: SseDecoder | None = None
        self._size = 0
        self.listening: _Listening

    def head(self, status: int, headers: Mapping[str, str]) -> float | None:
        if status == 200 and headers.get("content-type", "").partition(";")[0].strip().lower() not in _NO_STREAM:
            self._frames = SseDecoder()
        return super().head(status, headers)

    def body(self, data: bytes) -> bool:
        if self._frames is None:
            return super().body(data)
        self._size += len(data)
        self._check(self._size)
        found = self._frames.feed(data)
        events = decode(self._decoder, found)
        self.listening.heard(found, events)
        if not events:
            return False
        self._size = 0  # what has become events is not held here, and its text is bounded where it is
        enough = self._take(events) or isinstance(events[-1], _TERMINAL)
        if enough:
            self.listening.over()
        return enough

    def end(self) -> None:
        if self._status != 200:
            return
        self.listening.over()
        self._take(self.reply() if self._frames is None else self.rest())

    def rest(self) -> list[Event]:
        """The last events: what the lines that have come say, and how the reply ends with them."""
        if self._frames is None:
            return self._decoder.end("")
        rest = decode(self._decoder, self._frames.finish())
        return rest if rest and isinstance(rest[-1], _TERMINAL) else rest + self._decoder.end(self._frames.stray)


class _Listening:
    """Decides what breaks the silence: before the first output only output does, afterwards any bytes do.

    A call's arguments come in pieces that are no output before the call is whole, so more frames than a reply's head takes
    count as output too, unless they are pings.
    """

    __slots__ = ("_frames", "_guard", "_idle_s", "_spoken")

    def __init__(self, guard: SilenceTimeout, idle_s: float) -> None:
        self._guard = guard
        self._idle_s = idle_s
        self._frames = 0
        self._spoken = False

    def over(self) -> None:
        """The reply is whole: a timeout that comes now would have it asked, and paid, once more."""
        self._guard.disarm()

    def heard(self, frames: list[Frame], events: list[Event]) -> None:
        if self._spoken:
            self._guard.touch()
            return
        self._spoken = any(isinstance(event, _OUTPUT) for event in events)
        if not self._spoken:
            self._frames += sum(frame.event != "ping" for frame in frames)
            self._spoken = self._frames > _HEAD_FRAMES
        if self._spoken:
            self._guard.allow(self._idle_s)


def _says_nothing(last: Event) -> bool:
    """Whether a reply that broke off tells nothing of its own end: no finish, and no error of the provider's."""
    return isinstance(last, Failed) and not (isinstance(last.error, UpstreamError) and last.error.kind != "broken")


def _as_upstream_error(error: aiohttp.ClientError | OSError | BrokenError) -> UpstreamError:
    if isinstance(error, TimeoutError):
        return UpstreamError("provider_timeout", "The provider did not answer in time.", kind="timeout")
    return _broken("The connection to the provider broke.")


def _broken(detail: str) -> UpstreamError:
    return UpstreamError("provider_error", detail, kind="broken")
