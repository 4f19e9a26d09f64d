"""Clients that hang up at any moment, and what is left of them in the gateway."""

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import psutil

from tests.faults.crowd import Crowd
from tests.faults.server import Server


@dataclass(frozen=True, slots=True)
class Left:
    """What a gateway holds: tasks, running turns, readers, sockets of clients, file descriptors, threads, memory (MB); and how
    many turns have ended in it."""

    tasks: int
    turns: int
    readers: int
    clients: int
    descriptors: int
    threads: int
    memory: float
    ended: int


async def hang_up(crowd: Crowd, clients: int, chance: random.Random, *, longest_s: float, at_once: int = 40) -> None:
    """So many clients ask, every second one as a stream, and each hangs up a random while (at most `longest_s`) later, unless
    it has its answer by then."""
    places = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with places:
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0.0, longest_s)):
                    await crowd.ask()

    await asyncio.gather(*(one() for _ in range(clients)))


async def left_in(server: Server) -> Left:
    """Look at a gateway from outside, and ask it."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
        text = await answer.text()
    process = psutil.Process(server.pid)
    port = urlsplit(server.url).port
    clients = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port]
    return Left(
        tasks=int(_sum(text, "gateway_event_loop_tasks")),
        turns=int(_sum(text, "gateway_active_turns")),
        readers=int(_sum(text, "gateway_readers")),
        clients=len(clients),
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        memory=process.memory_info().rss / 1024**2,
        ended=int(_sum(text, "gateway_turns_total")),
    )


def _sum(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))
