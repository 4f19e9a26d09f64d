"""What runs here, for other processes: they are told of each turn, and sent its tape for as long as they follow it.

A turn never waits for the relay, and costs it next to nothing while nobody follows it from elsewhere. A process that follows a
turn counts as one of its readers.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.jsontext import loads
from gateway.core.letters import Follow, Forget, Leave, Letter, RelayTurn, StopTurn, TapeGrown, TurnOver, TurnUnknown
from gateway.core.turn import TurnBegun, TurnError, TurnRecord
from gateway.engine.link import Link
from gateway.engine.live import LiveTurn
from gateway.engine.runner import Engine
from gateway.engine.tape_json import encode_tape
from gateway.store.base import RelayUnavailable

log = logging.getLogger(__name__)

FOLLOWER_S: Final = 12.0
_LETTER_CHARACTERS: Final = 32_768
_RETRY_S: Final = 1.0
_LAST_WORDS_S: Final = 2.0


@dataclass(slots=True, eq=False)
class _Follower:
    """A process that follows a turn: what it was sent, and when it was last heard of (the loop's time)."""

    turn: LiveTurn
    process: str
    position: int
    heard: float
    task: asyncio.Task[object] | None = None


class Sharing:
    """Tells other processes of the turns that run here, and does what they ask."""

    def __init__(self, link: Link, engine: Engine) -> None:
        self._link = link
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, RelayTurn] = {}
        self._followers: dict[tuple[str, str], _Follower] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        link.readers.append(self._read)
        link.on_pulse.append(self._drop_silent)
        link.on_lost.append(self._tell_again)

    async def close(self) -> None:
        """Send followers what is left of turns that have ended, if the relay takes it at once."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begun(self, turn: LiveTurn) -> None:
        """A turn runs here: followers read its tape themselves."""
        begun = turn.begun
        self._running[begun.turn_id] = running = RelayTurn(begun, self._link.process)
        self._link.outbox.begun(running)
        turn.when_ended(lambda _: self._over(begun))

    async def forget_conversation(self, conversation_id: str, caller: str | None) -> None:
        """A conversation was deleted here (by `caller`: their turns in it): they stop everywhere."""
        await self._tell_all(Forget(conversation_id, caller))

    async def forget_caller(self, caller: str) -> None:
        """A caller was deleted here: their turns stop everywhere."""
        await self._tell_all(Forget(None, caller))

    async def _tell_all(self, letter: Letter) -> None:
        try:
            others = await self._link.asked(self._link.relay.living()) - {self._link.process}
            await asyncio.gather(*(self._link.outbox.post(process, letter) for process in others))
        except RelayUnavailable:
            log.warning("other processes were not told of a deletion; the log takes nothing older from them")

    def _over(self, begun: TurnBegun) -> None:
        del self._running[begun.turn_id]
        self._link.outbox.ended(begun)

    def _tell_again(self) -> None:
        for running in self._running.values():
            self._link.outbox.begun(running)

    def _read(self, letter: Letter) -> bool:
        match letter:
            case Follow(process, turns, again):
                for turn_id, position in turns.items():
                    self._follow(process, turn_id, position, again=again)
            case Leave(process, turn_ids):
                for turn_id in turn_ids:
                    if follower := self._followers.get((turn_id, process)):
                        self._drop(follower)
            case StopTurn(turn_id):
                if turn := self._engine.find(turn_id):
                    self._engine.stop(turn)
            case Forget(conversation_id, caller):
                self._forget(conversation_id, caller)
            case _:
                return False
        return True

    def _forget(self, conversation_id: str | None, caller: str | None) -> None:
        if conversation_id is not None:
            self._engine.forget_conversation(conversation_id, caller)
        elif caller is not None:
            self._engine.forget_caller(caller)

    def _follow(self, process: str, turn_id: str, position: int, *, again: bool) -> None:
        follower = self._followers.get((turn_id, process))
        if follower is not None:
            follower.heard = self._loop.time()
            if again:
                follower.position = position
                self._feed(follower)
            return
        turn = self._engine.find(turn_id)
        if turn is None:
            self._spawn(self._post(process, TurnUnknown(turn_id)))
            return
        turn.attach()
        follower = self._followers[turn_id, process] = _Follower(turn, process, position, self._loop.time())
        self._feed(follower)

    def _feed(self, follower: _Follower) -> None:
        if follower.task is not None:
            follower.task.cancel()
        follower.task = self._spawn(self._feeding(follower))

    async def _feeding(self, follower: _Follower) -> None:
        turn = follower.turn
        while True:
            data, reached = encode_tape(turn.fold.tape, follower.position, _LETTER_CHARACTERS)
            if reached > follower.position:
                letter = TapeGrown(turn.begun.turn_id, follower.position, data)
                if await self._post(follower.process, letter):
                    follower.position = reached
            elif turn.outcome is not None:
                if await self._post(follower.process, _ending(turn)):
                    self._drop(follower)
                    return
            else:
                await turn.changed()

    async def _post(self, process: str, letter: Letter) -> bool:
        try:
            await self._link.outbox.post(process, letter)
        except RelayUnavailable:
            await asyncio.sleep(_RETRY_S)
            return False
        return True

    def _drop(self, follower: _Follower) -> None:
        if self._followers.pop((follower.turn.begun.turn_id, follower.process), None) is None:
            return
        if follower.task is not None and follower.task is not asyncio.current_task():
            follower.task.cancel()
        follower.turn.detach()

    def _drop_silent(self) -> None:
        """Who has not been heard of is gone; while the relay is away, nobody can be heard."""
        now = self._loop.time()
        for follower in list(self._followers.values()):
            if not self._link.up:
                follower.heard = now
            elif follower.heard < now - FOLLOWER_S:
                self._drop(follower)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _brief(begun: TurnBegun) -> TurnBegun:
    """What others need to know; what was asked stays here."""
    return replace(begun, question=None, question_parts=None, tool_results=())


def _ending(turn: LiveTurn) -> TurnOver:
    begun, outcome, position = turn.begun, turn.outcome, turn.fold.tape.end
    assert outcome is not None
    if outcome.ended is None:
        error = outcome.error
        assert error is not None
        return TurnOver(begun.turn_id, position, error=TurnError(error.code, error.detail, error.retryable, error.retry_after))
    record = TurnRecord(_brief(begun), outcome.ended)
    if outcome.body is None:
        return TurnOver(begun.turn_id, position, record, begun.conversation_id)
    body = loads(outcome.body)
    message_id = body["message_id"]
    return TurnOver(begun.turn_id, position, record, body["conversation_id"], None if message_id is None else int(message_id))
