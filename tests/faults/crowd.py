"""Many clients of one gateway, and exactly what each of them saw."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

End = Literal["done", "failed", "refused", "cut"]
"""How it ended for the client: a whole reply; a `failed` event; an error instead of a reply; the connection broke."""

PATIENCE_S = 120.0


@dataclass(slots=True, eq=False)
class Asked:
    """One question, with the text that its answer must be, and what its client got.

    `pieces` are the texts of a stream's `token` events with the moments they came (monotonic seconds), `status` the HTTP
    status, `body` that of the reply, of the last event or of the error.
    """

    question: str
    answer: str
    conversation_id: str
    streamed: bool
    begun: float = 0.0
    ended: float = 0.0
    turn_id: str | None = None
    pieces: list[tuple[float, str]] = field(default_factory=list)
    status: int | None = None
    end: End | None = None
    body: dict[str, Any] = field(default_factory=dict)

    def text(self, until: float = float("inf")) -> str:
        """What had come of a stream by then."""
        return "".join(piece for moment, piece in self.pieces if moment <= until)

    @property
    def code(self) -> str:
        """The error's code, if there was one."""
        return str(self.body.get("code", ""))


@dataclass(frozen=True, slots=True)
class Manner:
    """How questions are asked: `rate` a second, every second one as a stream; replies of `words` words, with one of the
    `gaps_ms` between two, after at most `think_ms`; one in `shared` in a conversation that it has in common with others."""

    rate: float = 50.0
    words: int = 30
    gaps_ms: tuple[float, ...] = (4.0,)
    think_ms: int = 0
    shared: int = 4


class Crowd:
    """Asks, and remembers. `where` tells the gateway's address, which may change; ids of conversations begin with `prefix`."""

    def __init__(self, where: Callable[[], str], manner: Manner | None = None, seed: int = 1) -> None:
        self.asked: list[Asked] = []
        self.manner = manner or Manner()
        self._where = where
        self._chance = random.Random(seed)
        self.prefix = f"conv-{self._chance.randrange(1 << 60):x}-"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Crowd":
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    def question(self, *, streamed: bool | None = None) -> Asked:
        """A new question, which nobody else asks."""
        number = len(self.asked)
        manner = self.manner
        answer = " ".join(f"كلمة{number}ـ{place}" for place in range(manner.words))
        pace = f"gap_ms={self._chance.choice(manner.gaps_ms)} ttft_ms={self._chance.randint(0, manner.think_ms)}"
        question = f'ما معنى «سؤال{self.prefix}{number}»؟ [[sim: {pace} reply="{answer}"]]'
        conversation_id = self.prefix + (f"s{number // 40}" if number % manner.shared == 0 else str(number))
        asked = Asked(question, answer, conversation_id, number % 2 == 1 if streamed is None else streamed)
        self.asked.append(asked)
        return asked

    async def ask(self, asked: Asked | None = None) -> Asked:
        """Ask one question and read the answer to its end, good or bad."""
        asked = asked or self.question()
        body = {"conversation_id": asked.conversation_id, "messages": [{"role": "user", "content": asked.question}]}
        url = self._where() + ("/chat/stream" if asked.streamed else "/chat")
        asked.begun = time.monotonic()
        assert self._session is not None
        try:
            async with self._session.post(url, json=body) as answer:
                asked.status = answer.status
                asked.turn_id = answer.headers.get("X-Turn-Id")
                await (_read_stream if asked.streamed and answer.status == 200 else _read_whole)(asked, answer)
        except (aiohttp.ClientError, ConnectionError):
            asked.end = asked.end or "cut"
        finally:
            asked.ended = time.monotonic()
        return asked

    async def ask_during(self, deed: Coroutine[Any, Any, None]) -> None:
        """Ask at the manner's rate until a deed is done, and wait for the last answers, good or bad."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(deed)
            due = loop.time()
            while not doing.done():
                group.create_task(self.ask())
                due += self._chance.expovariate(self.manner.rate)
                await asyncio.sleep(max(0.0, due - loop.time()))


async def _read_whole(asked: Asked, answer: aiohttp.ClientResponse) -> None:
    asked.body = json.loads(await answer.read())
    asked.end = "done" if answer.status == 200 else "refused"
    asked.turn_id = asked.turn_id or asked.body.get("turn_id")


async def _read_stream(asked: Asked, answer: aiohttp.ClientResponse) -> None:
    rest = b""
    async for data in answer.content.iter_any():
        *blocks, rest = (rest + data).split(b"\n\n")
        for block in blocks:
            if not block.startswith(b":"):
                _take(asked, block.decode())
    if asked.end is None:
        asked.end = "cut"


def _take(asked: Asked, block: str) -> None:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    data = json.loads(fields["data"])
    assert asked.end is None, "an event behind the last"
    match fields["event"]:
        case "start":
            asked.turn_id = data["turn_id"]
        case "token":
            asked.pieces.append((time.monotonic(), data["text"]))
        case "done" | "failed" as name:
            asked.end = name
            asked.body = data
