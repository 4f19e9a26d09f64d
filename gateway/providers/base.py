"""What a provider is: a frozen record of pure functions. Nothing here does I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed, Finished, TextDelta
from gateway.core.messages import Prompt
from gateway.core.value import value
from gateway.providers.repeats import Repeats
from gateway.wire.sse import Frame

_TERMINAL: Final = (Finished, Failed)


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


def decode(decoder: Decoder, frames: Sequence[Frame]) -> list[Event]:
    """The events of frames that came together, up to a terminal one: as if each were fed, with adjacent text joined."""
    repeats = decoder.repeats
    if repeats is None:
        return _each(decoder, frames)
    events: list[Event] = []
    rest, start = iter(frames), 0
    while True:
        pieces, other = repeats.pieces(rest)
        end = start + len(pieces)
        if pieces:
            events += _joined(decoder, repeats, frames[start:end], pieces)
        if other is None or _ended(events):
            return events
        events += decoder.feed(other)
        if _ended(events):
            return events
        start = end + 1


def _joined(decoder: Decoder, repeats: Repeats, held: Sequence[Frame], pieces: list[bytes]) -> list[Event]:
    try:
        return [TextDelta(repeats.text(pieces))]
    except ValueError:
        # The parser has its own way with each of them.
        return _each(decoder, held)


def _each(decoder: Decoder, frames: Iterable[Frame]) -> list[Event]:
    events: list[Event] = []
    for frame in frames:
        events += decoder.feed(frame)
        if _ended(events):
            break
    return events


def _ended(events: list[Event]) -> bool:
    return bool(events) and isinstance(events[-1], _TERMINAL)
