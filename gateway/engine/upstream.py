"""One HTTP call to a provider: bytes in, events out, every failure an `UpstreamError`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import aiohttp

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished, ReasoningDelta, SourceFound, TextDelta, ToolCalled
from gateway.engine.connector import Connector
from gateway.engine.silence import SilenceTimeout
from gateway.providers.base import Decoder, Provider, UpstreamRequest
from gateway.wire.sse import Frame, SseDecoder

MAX_ERROR_BYTES: Final = 64 * 1024
_OUTPUT: Final = (TextDelta, ReasoningDelta, ToolCalled, SourceFound)
_TERMINAL: Final = (Finished, Failed)
_NO_STREAM: Final = ("application/json", "text/html")
_HEAD_FRAMES: Final = 8
_LINGER_S: Final = 0.1
_ERROR_BODY_S: Final = 5.0
_WRITTEN_AT_ONCE: Final = 512 * 1024
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the first output, between bytes."""

    connect_s: float
    first_token_s: float
    idle_s: float


def open_session(timeouts: Timeouts, connections_per_host: int = 0) -> aiohttp.ClientSession:
    """A pooled, kept-alive client session. Proxies from the environment are looked up only if there are any."""
    # Name look-up and TLS count as connecting, and so would waiting in line for a connection where their number is bounded.
    connect = None if connections_per_host else timeouts.connect_s
    return aiohttp.ClientSession(
        connector=Connector(limit=0, limit_per_host=connections_per_host, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=timeouts.connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "m3ajem-gateway"},
        trust_env=any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXY_VARIABLES),
    )


Heard = Callable[[Mapping[str, str]], None]


def _ignored(_: Mapping[str, str]) -> None:
    pass


class Upstream:
    """Makes single calls; it neither retries nor chooses."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts, max_reply_bytes: int) -> None:
        self._session = session
        self._timeouts = timeouts
        # JSON around the text, escapes included, may be several times the text.
        self._max_bytes = max_reply_bytes * 8

    async def whole(self, provider: Provider, request: UpstreamRequest, heard: Heard = _ignored) -> list[Event]:
        """Ask for a whole reply; the last event is terminal. `heard` gets the head of a good reply."""
        try:
            response = await self._post(provider, request)
            async with response:
                heard(response.headers)
                return provider.decode_reply(await self._body(response))
        except (aiohttp.ClientError, OSError) as error:
            raise _as_upstream_error(error) from error

    async def stream(
        self, provider: Provider, request: UpstreamRequest, heard: Heard = _ignored
    ) -> AsyncGenerator[list[Event], None]:
        """Ask for a streamed reply and yield its events as they come, those of one read together; the last is terminal.

        The consumer must not wait for anything else between two batches: silence is measured in its task. A break, or silence,
        behind a reply's finish reason takes nothing from it.
        """
        frames, decoder = SseDecoder(), provider.decoder()
        try:
            async with SilenceTimeout(self._timeouts.first_token_s) as guard, await self._post(provider, request) as response:
                heard(response.headers)
                if response.content_type in _NO_STREAM:
                    yield provider.decode_reply(await self._body(response))
                    return
                listening = _Listening(guard, self._timeouts.idle_s)
                size = 0
                async for chunk in response.content.iter_any():
                    size += len(chunk)
                    self._check(size)
                    found = frames.feed(chunk)
                    events = _decode(decoder, found)
                    listening.heard(found, events)
                    if events:
                        size = 0  # what has become events is not held here, and its text is bounded where it is
                        yield events
                        if isinstance(events[-1], _TERMINAL):
                            await _read_to_end(response)
                            return
                rest = _decode(decoder, frames.finish())
                yield rest if rest and isinstance(rest[-1], _TERMINAL) else rest + decoder.end(frames.stray)
        except (aiohttp.ClientError, OSError) as error:
            rest = decoder.end("")
            if isinstance(rest[-1], Failed):
                raise _as_upstream_error(error) from error
            yield rest

    async def _post(self, provider: Provider, request: UpstreamRequest) -> aiohttp.ClientResponse:
        body = BytesIO(request.body) if len(request.body) > _WRITTEN_AT_ONCE else request.body
        response = await self._session.post(request.url, data=body, headers=request.headers, allow_redirects=False)
        if response.status == 200:
            return response
        async with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            raise provider.decode_error(response.status, headers, await _error_body(response))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        whole = await response.content.readany()
        self._check(len(whole))
        if response.content.at_eof():
            # It came in one piece, as most do.
            return whole
        body = bytearray(whole)
        async for chunk in response.content.iter_any():
            body += chunk
            self._check(len(body))
        return bytes(body)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise _broken("The provider sent more than the gateway can hold.")


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


async def _read_to_end(response: aiohttp.ClientResponse) -> None:
    """Read on to the end of the body, which is due behind the terminal event: then the connection can be used again."""
    if not response.content.is_eof():
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(_LINGER_S):
                async for _ in response.content.iter_any():
                    pass


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """What can be had of an error's body: the status alone says enough."""
    body = b""
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_ERROR_BODY_S):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= MAX_ERROR_BYTES:
                    break
    return body[:MAX_ERROR_BYTES]


def _decode(decoder: Decoder, frames: list[Frame]) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        events.extend(decoder.feed(frame))
        if events and isinstance(events[-1], _TERMINAL):
            break
    return events


def _as_upstream_error(error: aiohttp.ClientError | OSError) -> UpstreamError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamError("provider_timeout", "The provider could not be reached in time.", kind="connect")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError("provider_error", "The provider could not be reached.", kind="connect")
    if isinstance(error, TimeoutError):
        return UpstreamError("provider_timeout", "The provider did not answer in time.", kind="timeout")
    return _broken("The connection to the provider broke.")


def _broken(detail: str) -> UpstreamError:
    return UpstreamError("provider_error", detail, kind="broken")
