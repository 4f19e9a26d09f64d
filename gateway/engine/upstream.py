"""One HTTP call to a provider: bytes in, events out, every failure an `UpstreamError`."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished, ReasoningDelta, SourceFound, TextDelta, ToolCalled
from gateway.engine.silence import SilenceTimeout
from gateway.providers.base import Decoder, Provider, UpstreamRequest
from gateway.wire.sse import Frame, SseDecoder

MAX_ERROR_BYTES: Final = 64 * 1024
_OUTPUT: Final = (TextDelta, ReasoningDelta, ToolCalled, SourceFound)
_TERMINAL: Final = (Finished, Failed)
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the first output, between bytes."""

    connect_s: float
    first_token_s: float
    idle_s: float


def open_session(timeouts: Timeouts, connections_per_host: int = 0) -> aiohttp.ClientSession:
    """A pooled, kept-alive client session. Proxies from the environment are looked up only if there are any."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=connections_per_host, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "m3ajem-gateway"},
        trust_env=any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXY_VARIABLES),
    )


class Upstream:
    """Makes single calls; it neither retries nor chooses."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts, max_reply_bytes: int) -> None:
        self._session = session
        self._timeouts = timeouts
        # JSON around the text, escapes included, may be several times the text.
        self._max_bytes = max_reply_bytes * 8

    async def whole(self, provider: Provider, request: UpstreamRequest) -> list[Event]:
        """Ask for a whole reply; the last event is terminal."""
        with _as_upstream_errors():
            async with self._post(provider, request) as response:
                return provider.decode_reply(await self._body(response, self._max_bytes))

    async def stream(self, provider: Provider, request: UpstreamRequest) -> AsyncGenerator[list[Event], None]:
        """Ask for a streamed reply and yield its events as they come, those of one read together; the last is terminal.

        The consumer must not wait for anything else between two batches: silence is measured in its task.
        """
        with _as_upstream_errors():
            async with SilenceTimeout(self._timeouts.first_token_s) as guard, self._post(provider, request) as response:
                if response.content_type != "text/event-stream":
                    yield provider.decode_reply(await self._body(response, self._max_bytes))
                    return
                async for events in self._batches(provider, response, guard):
                    yield events

    async def _batches(
        self, provider: Provider, response: aiohttp.ClientResponse, guard: SilenceTimeout
    ) -> AsyncGenerator[list[Event], None]:
        frames, decoder = SseDecoder(), provider.decoder()
        received, spoken = 0, False
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received > self._max_bytes:
                raise _broken("The provider sent more than the gateway can hold.")
            events = _decode(decoder, frames.feed(chunk))
            if spoken:
                guard.touch()
            elif any(isinstance(event, _OUTPUT) for event in events):
                spoken = True
                guard.allow(self._timeouts.idle_s)
            if events:
                yield events
                if isinstance(events[-1], _TERMINAL):
                    return
        rest = _decode(decoder, frames.finish())
        yield rest if rest and isinstance(rest[-1], _TERMINAL) else rest + decoder.end(frames.stray)

    @asynccontextmanager
    async def _post(self, provider: Provider, request: UpstreamRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._session.post(request.url, data=request.body, headers=request.headers, allow_redirects=False) as response:
            if response.status != 200:
                body = await self._body(response, MAX_ERROR_BYTES)
                headers = {name.lower(): value for name, value in response.headers.items()}
                raise provider.decode_error(response.status, headers, body)
            yield response

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise _broken("The provider sent more than the gateway can hold.")
        return b"".join(chunks)


def _decode(decoder: Decoder, frames: list[Frame]) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        events.extend(decoder.feed(frame))
        if events and isinstance(events[-1], _TERMINAL):
            break
    return events


@contextmanager
def _as_upstream_errors() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamError("provider_timeout", "The provider could not be reached in time.", kind="connect") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamError("provider_error", "The provider could not be reached.", kind="connect") from error
    except TimeoutError as error:
        raise UpstreamError("provider_timeout", "The provider did not answer in time.", kind="timeout") from error
    except (aiohttp.ClientError, OSError) as error:
        raise _broken("The connection to the provider broke.") from error


def _broken(detail: str) -> UpstreamError:
    return UpstreamError("provider_error", detail, kind="broken")
