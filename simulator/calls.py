"""What the simulator was asked: one record a call, and the counts."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["open", "completed", "aborted", "faulted", "rejected"]

_SECRET_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")


@dataclass(slots=True)
class Call:
    """One request as it came.

    `outcome`: `completed` (everything was sent), `aborted` (the client closed early), `faulted` (a script broke it off),
    `rejected` (a 4xx for what it asked), `open` while it runs. `at` and `ended_at` are Unix seconds. `stalled`: held by a
    script until released.
    """

    number: int
    provider: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    body: Any
    model: str
    stream: bool
    key: str
    at: float
    status: int | None = None
    outcome: Outcome = "open"
    stalled: bool = False
    ended_at: float | None = None

    @property
    def completed(self) -> bool:
        """Whether everything was sent."""
        return self.outcome == "completed"

    @property
    def aborted(self) -> bool:
        """Whether the client closed early."""
        return self.outcome == "aborted"

    def as_json(self) -> dict[str, Any]:
        """The call as GET /_calls shows it: keys are masked there, in case a real one was sent here."""
        return {
            "number": self.number,
            "provider": self.provider,
            "path": self.path,
            "query": {name: mask(value) if name == "key" else value for name, value in self.query.items()},
            "headers": {name: mask(value) if name.lower() in _SECRET_HEADERS else value for name, value in self.headers.items()},
            "body": self.body,
            "model": self.model,
            "stream": self.stream,
            "key": mask(self.key),
            "at": self.at,
            "status": self.status,
            "outcome": self.outcome,
            "stalled": self.stalled,
            "ended_at": self.ended_at,
        }


def mask(secret: str) -> str:
    """Return the last four characters of a key, or none of a short one."""
    return f"…{secret[-4:]}" if len(secret) >= 8 else "…"


@dataclass(slots=True)
class CallLog:
    """The latest `limit` calls in order, and counts of all."""

    limit: int
    calls: list[Call] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    total: int = 0
    streams: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, call: Call) -> None:
        """Take up a new call."""
        self.calls.append(call)
        if len(self.calls) > self.limit:
            del self.calls[: len(self.calls) - self.limit]
        self.total += 1
        self.streams += call.stream
        self.providers[call.provider] += 1
        self.keys[call.key] += 1
        self.outcomes["open"] += 1
        self._tell()

    def end(self, call: Call, outcome: Outcome) -> None:
        """Note how a call ended; only the first end counts."""
        if call.outcome == "open":
            call.outcome, call.stalled, call.ended_at = outcome, False, time.time()
            self.outcomes["open"] -= 1
            self.outcomes[outcome] += 1
            self._tell()

    @property
    def stalled(self) -> int:
        """How many calls are held now."""
        return sum(call.stalled for call in self.calls)

    def stall(self, call: Call, stalled: bool) -> None:
        """Note that a call is held, or goes on."""
        call.stalled = stalled
        self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever a call begins, stalls, goes on or ends."""
        while not condition():
            await self._changed.wait()

    def clear(self) -> None:
        """Forget the calls that have ended, and all counts but that of the open ones."""
        self.calls[:] = [call for call in self.calls if call.outcome == "open"]
        for counter in (self.outcomes, self.providers, self.keys):
            counter.clear()
        self.outcomes["open"] = len(self.calls)
        self.total = self.streams = 0

    def counts(self) -> dict[str, Any]:
        """The counts as GET /_counts shows them."""
        keys: Counter[str] = Counter()
        for key, count in self.keys.items():
            keys[mask(key)] += count
        return {
            "calls": self.total,
            "streams": self.streams,
            "stalled": self.stalled,
            **{name: self.outcomes[name] for name in ("open", "completed", "aborted", "faulted", "rejected")},
            "providers": dict(self.providers),
            "keys": dict(keys),
        }

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
