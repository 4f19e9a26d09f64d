"""What this process has to tell others, gathered into one round trip a batch."""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeVar

from gateway.core.letters import Letter, Parcel, RelayTurn
from gateway.core.turn import TurnBegun
from gateway.store.base import Relay, RelayUnavailable

log = logging.getLogger(__name__)

BATCH_S: Final = 0.03
RETRY_S: Final = 1.0
_MOST_LETTERS: Final = 200
_MOST_TURNS: Final = 1000

T = TypeVar("T")


class Outbox:
    """The first thing goes at once, what comes within `BATCH_S` behind it together.

    Which turns run here is told until it has arrived. A letter is tried once: who wrote it hears of it.
    """

    def __init__(self, relay: Relay, lifetime_s: int, told: Callable[[RelayUnavailable | None], None]) -> None:
        """`told` hears after each batch whether the relay took it."""
        self._relay = relay
        self._lifetime_s = lifetime_s
        self._told = told
        self._begun: dict[str, RelayTurn] = {}
        self._ended: dict[str, TurnBegun] = {}
        self._letters: list[tuple[str, Letter, asyncio.Future[None]]] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._send_forever())

    async def close(self) -> None:
        """Send what is left, if the relay takes it at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting and await self._send():
            pass
        for _, _, sent in self._letters:
            _settle(sent, arrived=False)

    def begun(self, turn: RelayTurn) -> None:
        """A turn runs here."""
        self._begun[turn.begun.turn_id] = turn
        self._news.set()

    def ended(self, begun: TurnBegun) -> None:
        """It does no more; one that nobody was told of is not mentioned at all."""
        if self._begun.pop(begun.turn_id, None) is None:
            self._ended[begun.turn_id] = begun
            self._news.set()

    async def post(self, process: str, letter: Letter) -> None:
        """Returns when the letter is in the other's inbox. Raises `RelayUnavailable` when it may not be."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._letters.append((process, letter, sent))
        self._news.set()
        await sent

    @property
    def _waiting(self) -> bool:
        return bool(self._begun or self._ended or self._letters)

    async def _send_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if not self._waiting:
                # What began has ended before anybody was told.
                continue
            try:
                sent = await self._send()
            except Exception:
                log.exception("what runs here could not be told to other processes")
                sent = False
            await asyncio.sleep(BATCH_S if sent else RETRY_S)
            if self._waiting:
                self._news.set()

    async def _send(self) -> bool:
        begun, ended = _first(self._begun), _first(self._ended)
        letters, self._letters = self._letters[:_MOST_LETTERS], self._letters[_MOST_LETTERS:]
        parcel = Parcel(list(begun.values()), list(ended.values()), [(process, letter) for process, letter, _ in letters])
        arrived = False
        try:
            await self._relay.send(parcel, self._lifetime_s)
            arrived = True
        except RelayUnavailable as error:
            self._told(error)
        else:
            self._told(None)
        finally:
            self._have_told(begun, ended, arrived=arrived)
            for _, _, sent in letters:
                _settle(sent, arrived=arrived)
        return arrived

    def _have_told(self, begun: dict[str, RelayTurn], ended: dict[str, TurnBegun], *, arrived: bool) -> None:
        for turn_id, turn in begun.items():
            if turn_id not in self._begun:
                # It ended meanwhile, when others may have been told that it runs.
                self._ended[turn_id] = turn.begun
            elif arrived:
                del self._begun[turn_id]
        if arrived:
            for turn_id in ended:
                self._ended.pop(turn_id, None)


def _first(waiting: dict[str, T]) -> dict[str, T]:
    return dict(islice(waiting.items(), _MOST_TURNS))


def _settle(sent: asyncio.Future[None], *, arrived: bool) -> None:
    if sent.done():
        return
    if arrived:
        sent.set_result(None)
    else:
        sent.set_exception(RelayUnavailable("a letter may not have arrived"))
        sent.exception()  # who wrote it may be gone
