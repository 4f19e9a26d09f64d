"""Recorded replies beside what they must decode to, and the one way in which every wire format is run over them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from gateway.core import events as ev
from gateway.core.fold import Fold
from gateway.core.turn import Reply
from gateway.providers.base import Provider, decode
from gateway.providers.registry import PROVIDERS, RESPONSES
from gateway.wire.sse import SseDecoder

FIXTURES = Path(__file__).parent.parent / "fixtures"
WIRES = {**PROVIDERS, "openai-responses": RESPONSES}
"""Every wire format; OpenAI has two."""
DIRECTORIES = {name: {"google": "gemini"}.get(name, name) for name in WIRES}
"""Wire format to the directory of its recordings."""


@dataclass(frozen=True, slots=True)
class Case:
    """One recording: `body` as the provider sent it, `expected` what it means, `meta` status, headers and origin."""

    provider: str
    name: str
    kind: str
    body: bytes
    expected: dict[str, Any]
    meta: dict[str, Any]

    @property
    def status(self) -> int:
        """The HTTP status of the reply."""
        return int(self.meta["http_status"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers that were kept, names in lower case."""
        return {name.lower(): value for name, value in self.meta["headers"].items()}

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}"


@lru_cache
def cases(name: str) -> tuple[Case, ...]:
    """Return every recording of the provider called `name`, in order of file name."""
    directory = FIXTURES / DIRECTORIES[name]
    bodies = [path for path in sorted(directory.iterdir()) if path.suffix in (".sse", ".json")]
    return tuple(_load(name, path) for path in bodies if not path.stem.endswith((".expected", ".meta")))


def _load(name: str, path: Path) -> Case:
    expected, meta = (json.loads(path.with_suffix(f".{what}.json").read_bytes()) for what in ("expected", "meta"))
    return Case(name, path.stem, path.suffix[1:], path.read_bytes(), expected, meta)


def case(name: str, stem: str) -> Case:
    """Return one recording by name."""
    return next(found for found in cases(name) if found.name == stem)


def streams(name: str) -> list[Case]:
    """Return the recorded streams."""
    return [found for found in cases(name) if found.kind == "sse"]


def replies(name: str) -> list[Case]:
    """Return the recorded whole replies."""
    return [found for found in cases(name) if found.kind == "json" and found.status < 300]


def errors(name: str) -> list[Case]:
    """Return the recorded refusals."""
    return [found for found in cases(name) if found.status >= 300]


def decode_stream(record: Provider, body: bytes, cuts: Iterable[int] = ()) -> list[ev.Event]:
    """Decode `body` as if the network had cut it at the offsets `cuts`; stop at the first terminal event."""
    sse, decoder = SseDecoder(), record.decoder()
    events: list[ev.Event] = []
    for chunk in pieces(body, cuts):
        events += decode(decoder, sse.feed(chunk))
        if is_terminal(events):
            return events
    events += decode(decoder, sse.finish())
    if not is_terminal(events):
        events += decoder.end(sse.stray)
    return events


def pieces(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `body` cut at the given offsets; empty pieces are left out."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(body)}), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def is_terminal(events: Sequence[ev.Event]) -> bool:
    """Whether the last of the events is a terminal one."""
    return bool(events) and isinstance(events[-1], ev.Finished | ev.Failed)


def terminal(events: Sequence[ev.Event]) -> ev.Finished | ev.Failed:
    """Return the one terminal event, which is the last."""
    found = [event for event in events if isinstance(event, ev.Finished | ev.Failed)]
    assert len(found) == 1, found
    assert events[-1] is found[0]
    return found[0]


def shape(events: Iterable[ev.Event]) -> list[object]:
    """Return the events in a form that compares by value (errors compare by identity), adjacent text joined."""
    found: list[object] = []
    for event in events:
        if isinstance(event, ev.Failed):
            found.append((event.error.code, getattr(event.error, "kind", None), event.error.detail, event.error.retry_after))
        elif isinstance(event, ev.TextDelta) and found and isinstance(found[-1], ev.TextDelta):
            found[-1] = ev.TextDelta(found[-1].text + event.text)
        else:
            found.append(event)
    return found


def fold(events: Iterable[ev.Event]) -> Reply:
    """Return the reply that the events amount to."""
    folder = Fold(lambda: 1_732_000_000.0)
    for event in events:
        folder.add(event)
    return folder.reply()
