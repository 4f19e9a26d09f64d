"""What a wire format is: a frozen record of pure functions."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from simulator.answer import Answer, Ask

dumps = orjson.dumps


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request with a JSON object in it. `headers` have lower-case names; `model` and `action` come from the path, if any."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    size: int
    model: str = ""
    action: str = ""

    @property
    def tokens(self) -> int:
        """About how many tokens the request is (Arabic takes about six bytes of JSON each)."""
        return max(1, self.size // 6)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a provider tells it; what is None the format fills in by status."""

    status: int
    message: str | None = None
    code: str | None = None
    param: str | None = None
    model: str = ""
    retry_after: float | None = None


class RefusedError(Exception):
    """The provider would refuse this request."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(status, message, code, param)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, ready to be sent.

    Streamed: the first piece opens the stream, the last `closing` pieces end it in the provider's way, each piece between is
    a token's. Not streamed: the pieces are the body.
    """

    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    streamed: bool = False
    closing: int = 1


class Reader(Protocol):
    """Reads a request: what is asked, or `RefusedError` where the provider would refuse it."""

    def __call__(self, incoming: Incoming) -> Ask: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One provider's wire format.

    `key` finds the API key of a request ("" when there is none); `check_key` is called with it and raises `RefusedError`;
    `error` and `stream_error` write a problem as the body of a failed reply and as a frame of a broken stream
    (`bare`: outside any frame); `head` makes the headers of a reply (streamed or not).
    """

    provider: str
    folder: str
    key: Callable[[Mapping[str, str], Mapping[str, str]], str]
    check_key: Callable[[str, Mapping[str, str]], None]
    read: Reader
    reply: Callable[[Ask, Answer], Reply]
    error: Callable[[Problem], bytes]
    stream_error: Callable[[Problem, bool], bytes]
    head: Callable[[bool], dict[str, str]]
    failing_status: int = 500
    retry_headers: Callable[[Problem], dict[str, str]] = field(default=lambda problem: retry_header(problem))


def read(wire: Format, incoming: Incoming) -> Ask:
    """Return what a request asks; raise `RefusedError` for anything the provider would refuse."""
    try:
        return wire.read(incoming)
    except (AttributeError, KeyError, TypeError) as error:
        # A shape that no rule names: nothing the provider would take either.
        raise RefusedError(400, "The request does not have the shape that is expected here.") from error


def retry_header(problem: Problem) -> dict[str, str]:
    """The Retry-After header, in whole seconds (at least the wait)."""
    return {} if problem.retry_after is None else {"Retry-After": str(-int(-problem.retry_after // 1))}


def bearer(headers: Mapping[str, str], _query: Mapping[str, str]) -> str:
    """The key of an `Authorization: Bearer` header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def refused_key(key: str) -> bool:
    """Whether a key plays a wrong one: it begins with `invalid`."""
    return key.startswith("invalid")


def unknown_model(model: str) -> bool:
    """Whether a model plays one that does not exist."""
    return "no-such-model" in model or "does-not-exist" in model


def new_id(prefix: str, length: int = 24) -> str:
    """Return a random id."""
    return prefix + os.urandom(length // 2).hex()


def cut(text: str, size: int = 9) -> list[str]:
    """Cut JSON text into fragments, as arguments are streamed."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def escape_markup(pieces: list[bytes]) -> list[bytes]:
    """Escape `<`, `>` and `&` in JSON the way Groq and Gemini do."""
    body = b"".join(pieces)
    if b"<" not in body and b">" not in body and b"&" not in body:
        return pieces
    escapes = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))
    for mark, escaped in escapes:
        pieces = [piece.replace(mark, escaped) for piece in pieces]
    return pieces
