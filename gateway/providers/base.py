"""What a provider is: a frozen record of pure functions. Nothing here does I/O."""

from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.core.errors import UpstreamError
from gateway.core.events import Event
from gateway.core.messages import Prompt
from gateway.core.value import value
from gateway.providers.repeats import Repeats
from gateway.wire.sse import Frame


@value
class Route:
    """Where one upstream call goes. `dropped` names request parameters this model is known to refuse."""

    provider: str
    model: str
    base_url: str
    api_key: str
    dropped: frozenset[str] = frozenset()


@value
class UpstreamRequest:
    """One POST: `url` is whole, `headers` hold the key, `body` is JSON."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Decoder(Protocol):
    """Turns one streamed reply into events. Holds the state of that reply alone.

    Never raises on any frames: what cannot be understood is skipped, and a stream that does not end in the provider's own
    way ends in `Failed`. After a terminal event nothing more is fed.
    """

    @property
    def repeats(self) -> Repeats | None:
        """What reads frames of plain text in place of `feed`, where the format allows it."""
        ...

    def feed(self, frame: Frame) -> list[Event]:
        """Events of one SSE frame; a terminal event, if any, is the last."""
        ...

    def end(self, stray: str) -> list[Event]:
        """Events at EOF, the last of them terminal. `stray` is text that stood outside any frame (Gemini's bare errors)."""
        ...


@value
class Provider:
    """A wire format.

    `encode(prompt, route, stream)` builds the call; `decoder()` reads a streamed reply, `decode_reply(body)` a whole one as
    the same events, the last of them terminal; `decode_error(status, headers, body)` reads a reply whose HTTP status is not
    2xx (header names in lower case). `decode_reply` and `decode_error` never raise, whatever the bytes.
    `limits(headers)` tells from the head of a good reply in how many seconds a used-up limit of the key is reset (None: none
    is used up); `prefill(model)` whether the model goes on from an assistant message at the end of the prompt.
    """

    encode: Callable[[Prompt, Route, bool], UpstreamRequest]
    decoder: Callable[[], Decoder]
    decode_reply: Callable[[bytes], list[Event]]
    decode_error: Callable[[int, Mapping[str, str], bytes], UpstreamError]
    limits: Callable[[Mapping[str, str]], float | None] = lambda _: None
    prefill: Callable[[str], bool] = lambda _: False
