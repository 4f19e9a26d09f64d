"""Replicas behind nginx that are replaced one after another, and clients that read through it meanwhile."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from tests.balancing import running_nginx
from tests.faults.crowd import Crowd
from tests.faults.database import rows
from tests.faults.phone import Phone
from tests.faults.questions import question
from tests.faults.server import Server


@dataclass(frozen=True, slots=True)
class Fleet:
    """nginx's address, and the replicas behind it."""

    url: str
    replicas: Sequence[Server]

    async def replace_all(self) -> None:
        """End each replica as an operator does, and start it again, before the next one's turn."""
        for replica in self.replicas:
            replica.send(signal.SIGTERM)
            assert await replica.ended() == 0, replica.text
            await replica.start()


@asynccontextmanager
async def fleet(home: Path, provider_url: str, **settings: str) -> AsyncIterator[Fleet]:
    """Two replicas that serve, and are gone at the end."""
    async with AsyncExitStack() as stack:
        replicas = [Server(home / str(number), provider_url, {"ALLOW_ANONYMOUS": "true"} | settings) for number in range(2)]
        for replica in replicas:
            stack.push_async_callback(replica.close)
        await asyncio.gather(*(replica.start() for replica in replicas))
        ports = [urlsplit(replica.url).port or 80 for replica in replicas]
        yield Fleet(stack.enter_context(running_nginx(ports)), replicas)


async def endure_replacing(replicas: Fleet, crowd: Crowd, rounds: int = 1, at_once: int = 1) -> list[Phone]:
    """Replace all replicas so many times while the crowd asks, and phones do, so many at once; all of these are returned."""
    replaced = asyncio.Event()

    async def replace() -> None:
        for _ in range(rounds):
            await replicas.replace_all()
        replaced.set()

    async with asyncio.TaskGroup() as group:
        numbers = count()
        reading = [group.create_task(_read_with_cuts(replicas.url, numbers, replaced)) for _ in range(at_once)]
        await crowd.ask_during(replace())
    return [phone for each in reading for phone in each.result()]


async def _read_with_cuts(url: str, numbers: Iterator[int], until: asyncio.Event) -> list[Phone]:
    """Turn after turn over connections that break and are made again, until the event."""
    phones = []
    address = urlsplit(url)
    while not until.is_set():
        number = next(numbers)
        chance = random.Random(number)
        phone = Phone([(address.hostname or "", address.port or 80)], question(number, chance), f"key-{number}", chance)
        await phone.read()
        phones.append(phone)
    return phones


async def wrong_with(phones: Sequence[Phone], database_url: str) -> list[str]:
    """What phones were refused, and where the log differs from what they have."""
    found = await rows(database_url, "SELECT turn_id::text, content, status FROM messages WHERE role = 'assistant'")
    logged = {row["turn_id"]: (row["status"], row["content"]) for row in found}
    return [what for phone in phones for what in _wrong(phone, logged)]


def _wrong(phone: Phone, logged: dict[str, tuple[str, str]]) -> Iterator[str]:
    screen = phone.screen
    yield from phone.refused
    text = screen.text("token")
    if screen.end is None or screen.end[0] != "done" or screen.end[1]["content"] != text:
        yield f"{phone.key}: {text!r} ended with {json.dumps(screen.end, ensure_ascii=False)}"
    if logged.get(screen.turn_id or "") != ("completed", text):
        yield f"{phone.key}: {text!r} is {logged.get(screen.turn_id or '')} in the log"
