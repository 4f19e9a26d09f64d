"""The engine on real sockets, against a simulator that fails as it is told: one turn of its own for every cell of a table."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from gateway.core.errors import KINDS
from gateway.core.ids import turn_time
from gateway.core.jsontext import is_object, loads
from gateway.core.messages import Prompt, TextPart, UserMessage
from gateway.core.turn import Reply, TurnBegun, TurnRecord
from gateway.engine.attempts import Attempts
from gateway.engine.backoff import Backoff
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.live import LiveTurn
from gateway.engine.policy import Policy
from gateway.engine.reader import Reader
from gateway.engine.recent import RecentCalls
from gateway.engine.records import now_ms
from gateway.engine.rests import RestPolicy
from gateway.engine.routing import Router, Target
from gateway.engine.runner import Engine, Limits
from gateway.engine.upstream import Timeouts, Upstream, open_session
from gateway.providers.registry import PROVIDERS
from gateway.store.base import Receipt
from gateway.wire.sse import SseDecoder
from simulator import Script, Settings, Simulator, start_simulator
from tests.engine.turns import begun

NAMES = ("openai", "anthropic", "groq", "google")
MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-haiku-5-5", "groq": "openai/gpt-oss-120b", "google": "gemini-3.8-flash"}
TOKENS = 8
TEXT = "[محاكاة]" + " سلام" * (TOKENS - 1)
_CELL = re.compile(rb"cell-\d+")
PATIENT, HASTY = Timeouts(20.0, 20.0, 20.0), Timeouts(20.0, 1.5, 1.5)


class Log:
    """A turn log that remembers, in order, what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.records: dict[str, TurnRecord] = {}

    async def begin(self, begun: TurnBegun) -> None:
        """A turn begins."""
        await asyncio.sleep(0)
        self.told.append("begin")

    def progress(self, begun: TurnBegun, reply: Reply) -> None:
        """A turn goes on."""

    async def put(self, record: TurnRecord) -> Receipt:
        """A turn ends."""
        await asyncio.sleep(0)
        self.told.append("put")
        assert record.begun.turn_id not in self.records
        self.records[record.begun.turn_id] = record
        return Receipt(record.begun.conversation_id, len(self.records))

    def hurry(self) -> None:
        """The process ends."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a client saw: the HTTP status, the names of the events, the text, and the final event's data."""

    status: int
    names: list[str]
    text: str
    last: dict[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one turn came to: for its client, in the log, and upstream (the providers called, in order)."""

    told: Told
    record: TurnRecord
    calls: list[str]

    def short(self) -> tuple[str, str | None, str, list[str]]:
        """Status, error code, text and calls."""
        ended = self.record.ended
        return ended.status, ended.error.code if ended.error else None, ended.reply.content, self.calls


@dataclass(frozen=True, slots=True)
class Setup:
    """How the gateway is set for a turn."""

    fallback: tuple[str, ...] = ()
    retries: int = 2
    continue_on_break: bool = False
    keys: tuple[str, ...] = ("key-1",)
    turn_timeout_s: float = 30.0


@dataclass(slots=True)
class Bench:
    """A simulator and the sockets to it."""

    simulator: Simulator
    session: aiohttp.ClientSession
    patient: Upstream
    hasty: Upstream
    routers: dict[Engine, Router] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _calls: dict[str, list[str]] = field(default_factory=dict)
    _looked: int = 0

    def engine(self, setup: Setup, log: Log, *, hasty: bool = False, breaker: BreakerPolicy | None = None) -> Engine:
        """An engine that knows nothing yet of its providers."""
        base = self.simulator.base_url
        targets = [
            Target(name, PROVIDERS[name], base + ("/v1" if name == "openai" else ""), setup.keys, (MODELS[name],))
            for name in NAMES
        ]
        router = Router(targets, "openai", setup.fallback, allow_fallback_when_pinned=True, breaker=breaker, rest=RestPolicy(0.0))
        policy = Policy(
            max_retries=setup.retries,
            turn_timeout_s=setup.turn_timeout_s,
            backoff=Backoff(0.0, 0.0),
            continue_on_break=setup.continue_on_break,
        )
        attempts = Attempts(router, self.hasty if hasty else self.patient, policy)
        limits = Limits(setup.turn_timeout_s, 300.0, 1 << 20, 100_000)
        engine = Engine(attempts, log, RecentCalls(), limits, lambda *_: None)
        self.routers[engine] = router
        return engine

    async def ask(self, engine: Engine, log: Log, provider: str, question: str, *, stream: bool) -> Seen:
        """One turn, read by one client."""
        cell = f"cell-{next(self._numbers)}"
        prompt = Prompt((UserMessage((TextPart(f"{question} {cell}."),)),), max_tokens=400)
        choice = self.routers[engine].choose(provider, None)
        accepted = replace(
            begun(f"conv-{cell}", question),
            provider=choice.target.name,
            model=choice.model,
            started_ms=now_ms(),
            request_id=cell,
            streamed=stream,
            simulated=True,
        )
        turn = engine.start(accepted, choice, prompt)
        told = await told_of(turn)
        return Seen(told, log.records[turn.begun.turn_id], self._calls_of(cell))

    def _calls_of(self, cell: str) -> list[str]:
        """Whom the turn of a cell called, in order."""
        for call in self.simulator.calls[self._looked :]:
            found = _CELL.search(call.raw)
            assert found is not None
            self._calls.setdefault(found[0].decode(), []).append(call.provider)
        self._looked = len(self.simulator.calls)
        return self._calls.get(cell, [])

    async def cell(self, provider: str, script: str, *, stream: bool, setup: Setup | None = None, hasty: bool = False) -> Seen:
        """One turn of its own, with the script in its message."""
        setup, log = setup or Setup(), Log()
        engine = self.engine(setup, log, hasty=hasty)
        # The message makes each cell's directive one of its own, so that `times` counts its calls alone.
        directive = f'[[sim: message="number {next(self._numbers)}" {script}]]'
        seen = await self.ask(engine, log, provider, f"سؤالٌ {directive}", stream=stream)
        assert log.told == ["begin", "put"]
        await engine.drain(1.0)
        assert engine.active == 0
        del self.routers[engine]
        return seen


async def told_of(turn: LiveTurn) -> Told:
    """Read a turn the way the edge does: the head is held until there is output."""
    reader = Reader(turn, None, 60.0)
    frames = SseDecoder()
    events = []
    try:
        await turn.first_output(60.0)
        status = 200
        if turn.outcome is not None and turn.outcome.error is not None and not turn.fold.has_output:
            status = KINDS[turn.outcome.error.code].status
        while (data := await reader.next()) is not None:
            events += frames.feed(data)
    finally:
        reader.close()
    names = [event.event for event in events]
    bodies = [loads(event.data) for event in events]
    text = "".join(body["text"] for name, body in zip(names, bodies, strict=True) if name == "token")
    last = bodies[-1]
    assert is_object(last)
    return Told(status, names, text, last)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A bench that leaves no task and no socket behind."""
    files = _open_files()
    simulator = await start_simulator(settings=Settings(script=Script(gap_ms=0, drip_ms=0, tokens=TOKENS), max_calls=1_000_000))
    session = open_session(PATIENT)
    try:
        yield Bench(simulator, session, Upstream(session, PATIENT, 1 << 20), Upstream(session, HASTY, 1 << 20))
        assert not session.connector._acquired  # type: ignore[union-attr]
        assert not [task for task in _tasks() if turn_time(task.get_name()) is not None], "turns are still running"
    finally:
        await session.close()
        await simulator.close()
    for _ in range(100):
        if _open_files() <= files and not _tasks():
            break
        await asyncio.sleep(0.01)
    assert not _tasks()
    assert _open_files() <= files


def _tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def run_all(cells: Sequence[Callable[[], Awaitable[str | None]]], at_once: int = 24) -> None:
    """Run the cells, so many at a time; each returns what is wrong with it, or None."""
    wrong: list[str] = []
    waiting = iter(cells)

    async def work() -> None:
        for cell in waiting:
            found = await cell()
            if found is not None:
                wrong.append(found)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    assert not wrong, f"{len(wrong)} of {len(cells)} cells:\n" + "\n".join(wrong)
