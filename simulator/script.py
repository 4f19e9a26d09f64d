"""What a call gets instead of, or beside, the plain answer: one flat set of keys, spelled the same everywhere.

The keys stand in a message (`[[sim: status=429 retry_after=7]]`), in a setting, in the queue of a running simulator and in
the body of PUT /_script.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast, get_args

FaultKind = Literal["reset", "close", "stall", "garbage", "drip", "error", "bare-error"]
Moment = Literal["before-head", "after-head", "first-token", "mid", "before-end", "before-done", "at-end"]
PROVIDERS = ("openai", "anthropic", "groq", "google", "compatible")
MAX_TOKENS = 100_000
MAX_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks, and when.

    `reset` sends a TCP RST, `close` a FIN without ending the body, `stall` sends nothing more until released, `garbage`
    ends with bytes that are no frame, `drip` sends the rest byte by byte, `error` ends with the provider's own error inside
    the stream, `bare-error` with that error outside any frame.
    """

    kind: FaultKind
    moment: Moment = "mid"


@dataclass(frozen=True, slots=True)
class Chunks:
    """How the body's bytes are cut into writes: as frames, as one, into pieces of `number` bytes, or at random (a seed)."""

    mode: Literal["frames", "whole", "bytes", "random"]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """One script; a key that is None leaves what the script beneath it says.

    Content: `reply` and `reasoning` (exact texts), `tokens` (a reply of that many), `tools` (number of tool calls),
    `sources` (number of citations), `finish` (`stop`, `length`, `refusal`, `blocked`, `none`, or the provider's own word),
    `fixture` (a recorded file's name). Bytes and pace: `chunks`, `gap_ms` between tokens, `ttft_ms` before the head,
    `drip_ms` between dripped bytes. Failure: `status` with `body` (`own`, `html`, `empty`, `garbage`, `json-cut`, or the text
    itself), `code`, `message`, `retry_after` (seconds, told the provider's own way), `headers`, `fault`. Who it is for:
    `provider`, `key`, and `times` (only the first so many calls of each provider and key).
    """

    reply: str | None = None
    reasoning: str | None = None
    fixture: str | None = None
    chunks: Chunks | None = None
    tokens: int | None = None
    tools: int | None = None
    sources: int | None = None
    finish: str | None = None
    gap_ms: float | None = None
    ttft_ms: float | None = None
    drip_ms: float | None = None
    status: int | None = None
    body: str | None = None
    code: str | None = None
    message: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] | None = None
    fault: Fault | None = None
    times: int | None = None
    provider: str | None = None
    key: str | None = None

    def over(self, base: "Script") -> "Script":
        """Return `base` with every key that is set here."""
        return replace(base, **{name: value for name in KEYS if (value := getattr(self, name)) is not None})

    def is_for(self, provider: str, key: str) -> bool:
        """Whether a call of this provider with this key is meant."""
        return self.provider in (None, provider) and self.key in (None, key)


KEYS = tuple(field.name for field in fields(Script))

_DIRECTIVE = re.compile(r"\[\[\s*sim:(.*?)\]\]", re.DOTALL)
_PAIR = re.compile(r'\s*([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)', re.DOTALL)


def directive(text: str) -> str | None:
    """Return what stands in the directives of a message, or None when there is none."""
    found = _DIRECTIVE.findall(text)
    return " ".join(found) if found else None


def without_directive(text: str) -> str:
    """Return a message without its directives."""
    return _DIRECTIVE.sub("", text).strip()


def parse_text(text: str) -> Script:
    """Read `key=value key="value with spaces"`; raise `ValueError`, in plain words, on anything else."""
    values: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ValueError(f"expected key=value at {text[position:].strip()!r}")
        value = pair[2]
        values[pair[1]] = _unquoted(value) if value.startswith('"') else value
        position = pair.end()
    return parse(values)


def parse(values: Mapping[str, object]) -> Script:
    """Read keys and their values (text, or JSON's own types); raise `ValueError` on an unknown key or a bad value."""
    read: dict[str, Any] = {}
    for name, value in values.items():
        reader = _READERS.get(name)
        if reader is None:
            raise ValueError(f"unknown key {name!r}; known are {', '.join(KEYS)}")
        try:
            read[name] = reader(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}={value!r}: {error}") from None
    return Script(**read)


def _unquoted(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _number(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError("must be a number")
        number = float(value)
        if not low <= number <= high:
            raise ValueError(f"must be between {low} and {high}")
        return number

    return read


def _whole(low: int, high: int) -> Callable[[object], int]:
    number = _number(low, high)
    return lambda value: int(number(value))


def _fault(value: object) -> Fault:
    kind, _, moment = _text(value).partition("@")
    moment = moment or "mid"
    if kind not in get_args(FaultKind):
        raise ValueError(f"must be one of {', '.join(get_args(FaultKind))}")
    if moment not in get_args(Moment):
        raise ValueError(f"the moment must be one of {', '.join(get_args(Moment))}")
    return Fault(cast("FaultKind", kind), cast("Moment", moment))


def _chunks(value: object) -> Chunks:
    mode, _, number = re.sub("[=:]", " ", _text(value), count=1).partition(" ")
    if mode in ("frames", "whole") and not number:
        return Chunks(cast("Literal['frames', 'whole']", mode))
    if mode in ("bytes", "random") and number.isdecimal() and (mode == "random" or int(number) > 0):
        return Chunks(cast("Literal['bytes', 'random']", mode), int(number))
    raise ValueError("must be frames, whole, bytes:<n> or random:<seed>")


def _headers(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        pairs = [(_text(name), _text(text)) for name, text in value.items()]
    else:
        pairs = [(name, text) for name, _, text in (part.partition(":") for part in _text(value).split(";") if part)]
    for name, text in pairs:
        if not re.fullmatch(r"[A-Za-z0-9-]+", name.strip()) or not text.isprintable():
            raise ValueError("must be name:value;name:value")
    return {name.strip(): text.strip() for name, text in pairs}


def _provider(value: object) -> str:
    name = {"gemini": "google"}.get(_text(value), _text(value))
    if name not in PROVIDERS:
        raise ValueError(f"must be one of {', '.join(PROVIDERS)}")
    return name


_READERS: dict[str, Callable[[object], object]] = {
    "reply": _text,
    "reasoning": _text,
    "fixture": _text,
    "chunks": _chunks,
    "tokens": _whole(1, MAX_TOKENS),
    "tools": _whole(0, 100),
    "sources": _whole(0, 100),
    "finish": _text,
    "gap_ms": _number(0, MAX_SECONDS * 1000),
    "ttft_ms": _number(0, MAX_SECONDS * 1000),
    "drip_ms": _number(0, MAX_SECONDS * 1000),
    "status": _whole(200, 599),
    "body": _text,
    "code": _text,
    "message": _text,
    "retry_after": _number(0, 1_000_000),
    "headers": _headers,
    "fault": _fault,
    "times": _whole(1, 1_000_000),
    "provider": _provider,
    "key": _text,
}
