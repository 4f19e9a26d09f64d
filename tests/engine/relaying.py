"""A relay in memory, with two processes on it, that fails, forgets and repeats as a test wants it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from gateway.core.letters import Letter, Parcel, RelayTurn
from gateway.engine.following import Following
from gateway.engine.link import Link
from gateway.engine.live import LiveTurn
from gateway.engine.sharing import Sharing
from gateway.store.base import RelayUnavailable, Store, StoredTurn, StoreUnavailable
from tests.engine.stage import Stage, Step
from tests.engine.turns import soon


@dataclass(slots=True)
class MemoryRelay:
    """What processes share.

    `away`: every call fails. `chance` and the shares below it: of calls that fail though they were done, of letters that are
    lost, of letters that come twice.
    """

    away: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    half_done: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    turns: dict[str, RelayTurn] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    inboxes: dict[str, list[tuple[str, Letter | None]]] = field(default_factory=dict)
    alive_now: set[str] = field(default_factory=set)
    parcels: list[Parcel] = field(default_factory=list)
    _places: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def forget_everything(self) -> None:
        """As a Redis that was started anew."""
        for known in (self.turns, self.inboxes, self.alive_now, self.ended):
            known.clear()

    async def send(self, parcel: Parcel, lifetime_s: int) -> None:
        self._check()
        self.parcels.append(parcel)
        self.turns.update({turn.begun.turn_id: turn for turn in parcel.begun})
        self.ended.update(begun.turn_id for begun in parcel.ended)
        for process, letter in parcel.letters:
            for _ in range(self._copies()):
                self.put(process, letter)
        if self.chance.random() < self.half_done:
            raise RelayUnavailable("cut off behind the write")

    def put(self, process: str, letter: Letter | None) -> None:
        """Lay a letter into an inbox."""
        self._places += 1
        self.inboxes.setdefault(process, []).append((str(self._places), letter))
        self._news.set()

    async def receive(self, process: str, done: Sequence[str], wait_s: float) -> list[tuple[str, Letter | None]]:
        self._check()
        inbox = self.inboxes.setdefault(process, [])
        inbox[:] = [entry for entry in inbox if entry[0] not in done]
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self.inboxes.setdefault(process, []) and not self.away:
                    self._news.clear()
                    await self._news.wait()
        self._check()
        return list(self.inboxes[process])

    async def locate(self, turn_id: str) -> RelayTurn | None:
        self._check()
        return self.turns.get(turn_id)

    async def running(self, conversation_id: str) -> list[RelayTurn]:
        self._check()
        here = [turn for turn in self.turns.values() if turn.begun.conversation_id == conversation_id]
        return [turn for turn in here if turn.process in self.alive_now and turn.begun.turn_id not in self.ended]

    async def alive(self, process: str, seconds: int) -> bool:
        self._check()
        known = process in self.alive_now
        self.alive_now.add(process)
        return known

    async def gone(self, process: str) -> None:
        self._check()
        self.alive_now.discard(process)
        self.inboxes.pop(process, None)

    async def living(self) -> set[str]:
        self._check()
        return set(self.alive_now)

    def _copies(self) -> int:
        if self.chance.random() < self.lost:
            return 0
        return 2 if self.chance.random() < self.twice else 1

    def _check(self) -> None:
        if self.away:
            self._news.set()
            raise RelayUnavailable("away")


class Shelf:
    """The part of the log that following looks at: stored turns by id."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredTurn] = {}
        self.away = False

    async def turn(self, turn_id: str) -> StoredTurn | None:
        if self.away:
            raise StoreUnavailable
        return self.stored.get(turn_id)


class Process:
    """A process of its own: an engine whose calls go by a script, and its link to the other."""

    def __init__(self, relay: MemoryRelay, shelf: Store, *steps: Step) -> None:
        self.stage = Stage(*steps)
        self.link = Link(relay, 60)
        self.sharing = Sharing(self.link, self.stage.engine)
        self.following = Following(self.link, shelf, 60)
        self.stage.engine.on_begun.append(self.sharing.begun)
        self.link.start()

    async def find(self, turn: LiveTurn) -> LiveTurn:
        """Another process's turn, as it is found here."""
        found = await soon(self.following.find(turn.begun.turn_id, 10))
        assert found is not None
        return found

    async def close(self) -> None:
        """As at the end of a process that is told to end."""
        await self.stage.engine.drain(0)
        await self.following.close()
        await self.sharing.close()
        await self.link.close()


Run = Callable[..., Process]


@asynccontextmanager
async def processes(relay: MemoryRelay, shelf: Store) -> AsyncIterator[Run]:
    """Starts processes on a relay; keyword-less arguments are the steps of their scripts."""
    running: list[Process] = []

    def run(*steps: Step) -> Process:
        running.append(Process(relay, shelf, *steps))
        return running[-1]

    try:
        yield run
    finally:
        relay.away = False
        for process in running:
            await soon(process.close())


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something holds that nobody tells."""
    async with asyncio.timeout(10):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.002)
