"""What can go wrong in one upstream call, and what has to come of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import ErrorCode

Text = Literal["none", "part", "whole"]
TRIES = 3

BODIES = ("own", "html", "empty", "garbage", "json-cut")
# What a status means, how many calls are made if it stays, and whether the client may try again later.
STATUSES: dict[int, tuple[ErrorCode, int, bool]] = {
    302: ("provider_error", 1, True),
    400: ("provider_rejected", 1, False),
    401: ("provider_error", 1, False),
    402: ("provider_overloaded", 1, False),
    403: ("provider_error", 1, False),
    404: ("provider_error", 1, False),
    408: ("provider_timeout", TRIES, True),
    409: ("provider_error", TRIES, True),
    413: ("provider_rejected", 1, False),
    418: ("provider_error", 1, True),
    422: ("provider_rejected", 1, False),
    429: ("provider_overloaded", TRIES, True),
    498: ("provider_overloaded", TRIES, True),
    500: ("provider_error", TRIES, True),
    502: ("provider_error", TRIES, True),
    503: ("provider_overloaded", TRIES, True),
    504: ("provider_timeout", TRIES, True),
    520: ("provider_error", TRIES, True),
    529: ("provider_overloaded", TRIES, True),
}
# A 200 that is none.
NO_REPLIES = (
    "html",
    "empty",
    "garbage",
    "json-cut",
    "{}",
    "[]",
    "null",
    '"سلام"',
    '{"error":{"message":"no","type":"server_error"}}',
)

KINDS = ("reset", "close", "garbage", "error", "bare-error", "drip", "stall")
MOMENTS = ("before-head", "after-head", "first-token", "mid", "before-end", "before-done", "at-end")
_SILENT = 2


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cell has to come to; `code` None: it is completed."""

    code: ErrorCode | None
    calls: int
    text: Text
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """One failure of one provider."""

    provider: str
    stream: bool
    script: str
    expected: Expected

    @property
    def stalls(self) -> bool:
        """Whether it takes a timeout to notice."""
        return "fault=stall" in self.script


def by_status(provider: str, stream: bool) -> Iterator[Cell]:
    """Every status with every body, and what is no reply at all."""
    for status, (code, calls, retryable) in STATUSES.items():
        for body in BODIES:
            yield Cell(provider, stream, f"status={status} body={body} retry_after=0", Expected(code, calls, "none", retryable))
    for body in NO_REPLIES:
        quoted = body.replace('"', '\\"')
        yield Cell(provider, stream, f'status=200 body="{quoted}"', Expected("provider_error", TRIES, "none"))


def once(provider: str, stream: bool) -> Iterator[Cell]:
    """What passes when it is tried again, once or twice."""
    good = {1: Expected(None, 2, "whole"), 2: Expected(None, 3, "whole")}
    for times, expected in good.items():
        for status, (_, calls, _) in STATUSES.items():
            if calls == TRIES:
                yield Cell(provider, stream, f"status={status} times={times} retry_after=0", expected)
        for moment in ("before-head", "after-head"):
            for kind in ("reset", "close", "garbage", "error", "bare-error"):
                yield Cell(provider, stream, f"fault={kind}@{moment} times={times}", expected)
        for kind in ("reset", "close", "garbage"):
            if not stream:
                yield Cell(provider, stream, f"fault={kind}@mid times={times}", expected)


def by_moment(provider: str, stream: bool) -> Iterator[Cell]:
    """Every way to break off, at every moment."""
    for kind in KINDS:
        for place, moment in enumerate(MOMENTS):
            expected = _in_stream(provider, kind, place) if stream else _in_whole(provider, kind, place)
            yield Cell(provider, stream, f"fault={kind}@{moment}", expected)


def _in_stream(provider: str, kind: str, place: int) -> Expected:
    whole = Expected(None, 1, "whole")
    code = _code(provider, kind, place)
    if kind == "drip":
        return whole
    if place <= 1:
        return Expected(code, _SILENT if kind == "stall" else TRIES, "none")
    if place == 6:
        # Gemini ends with the end of the body alone: behind its last frame garbage is skipped, an error is one.
        return Expected(code, 1, "whole") if provider == "google" and kind in ("error", "bare-error") else whole
    if place == 5 and provider != "google" and kind != "error" and (kind != "bare-error" or provider == "anthropic"):
        # The finish reason has come; an error behind it is one, if it is told in a way that can be understood.
        return whole
    # Gemini's last words come with its finish reason.
    said: Text = "part" if place <= 3 or provider == "google" else "whole"
    return Expected(code, 1, said)


def _in_whole(provider: str, kind: str, place: int) -> Expected:
    whole = Expected(None, 1, "whole")
    if kind == "drip" or (place == 6 and kind in ("reset", "close", "stall")):
        return whole
    if kind == "stall":
        return Expected("provider_timeout", 1, "none")
    own = kind in ("error", "bare-error") and place == 0
    bare = kind == "bare-error" and place == 1
    return Expected(_code(provider, kind, 0) if own or bare else "provider_error", TRIES, "none")


def _code(provider: str, kind: str, place: int) -> ErrorCode:
    if kind == "stall":
        return "provider_timeout"
    told = kind == "error" or (kind == "bare-error" and (place == 0 or provider != "anthropic"))
    return "provider_overloaded" if told and provider != "openai" else "provider_error"
