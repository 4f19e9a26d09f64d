"""Turns that run in another process, read here as if they ran here."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from gateway.core.errors import GatewayError
from gateway.core.fold import Fold
from gateway.core.letters import Follow, Leave, Letter, RelayTurn, StopTurn, TapeGrown, TurnOver, TurnUnknown
from gateway.core.turn import TurnError
from gateway.engine.link import Link
from gateway.engine.live import LiveTurn, Outcome
from gateway.engine.records import INTERRUPTED
from gateway.engine.replay import not_logged, outcome_of, replay
from gateway.engine.tape_json import append_tape, copy_tape
from gateway.store.base import RelayUnavailable, Store, StoreUnavailable

log = logging.getLogger(__name__)

SILENT_S: Final = 6.0
ORPHAN_S: Final = 15.0
_LOOK_S: Final = 0.05
_LOST: Final = TurnError("log_unavailable", "The rest of the reply cannot be reached now; please try again.", True, 5)


class FollowedTurn(LiveTurn):
    """A turn of another process. Its tape grows for as long as it has readers here."""

    def __init__(self, where: RelayTurn, following: "Following") -> None:
        super().__init__(where.begun, Fold(time.time), following.left)
        self.process = where.process
        self.heard = 0.0
        self.orphan_since: float | None = None
        self._following = following

    def attach(self) -> None:
        """See `LiveTurn`; the first reader makes it followed."""
        super().attach()
        if self.readers == 1 and self.outcome is None:
            self._following.entered(self)


class Following:
    """Finds turns of other processes, and follows those that are read here."""

    def __init__(self, link: Link, store: Store, turn_timeout_s: float) -> None:
        self._link = link
        self._store = store
        self._turn_timeout_s = turn_timeout_s
        self._loop = asyncio.get_running_loop()
        self._known: WeakValueDictionary[str, FollowedTurn] = WeakValueDictionary()
        self._followed: dict[str, FollowedTurn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking = self._closed = False
        link.readers.append(self._read)
        link.on_pulse.append(self._pulse)

    async def close(self) -> None:
        """Look after nothing any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def known(self, turn_id: str) -> LiveTurn | None:
        """A turn of another process that somebody reads here."""
        return self._known.get(turn_id)

    async def find(self, turn_id: str, wait_s: float) -> LiveTurn | None:
        """A turn of another process, waiting up to `wait_s` until the relay knows it. Raises `RelayUnavailable`."""
        until = self._loop.time() + wait_s
        while (where := await self._link.asked(self._link.relay.locate(turn_id))) is None:
            if self._loop.time() >= until:
                return None
            await asyncio.sleep(_LOOK_S)
        if where.process == self._link.process:
            # It ended here, and is no longer kept.
            return None
        found = self._known.get(turn_id)
        if found is None:
            found = self._known[turn_id] = FollowedTurn(where, self)
        return found

    async def running_in(self, conversation_id: str) -> list[RelayTurn]:
        """The turns of a conversation that run in other processes, as far as the relay can tell."""
        try:
            found = await self._link.asked(self._link.relay.running(conversation_id))
        except RelayUnavailable:
            return []
        return [turn for turn in found if turn.process != self._link.process]

    async def stop(self, turn: FollowedTurn) -> None:
        """Ask the turn's own process to stop it. Raises `GatewayError` `turn_elsewhere` while it cannot be reached."""
        try:
            await self._link.outbox.post(turn.process, StopTurn(turn.begun.turn_id))
        except RelayUnavailable:
            raise GatewayError("turn_elsewhere", "The turn cannot be reached now; try again.", retry_after=2) from None

    def entered(self, turn: FollowedTurn) -> None:
        """A turn has got its first reader."""
        self._followed[turn.begun.turn_id] = turn
        turn.heard = self._loop.time()
        self._spawn(self._begin(turn))

    def left(self, turn: LiveTurn) -> None:
        """Its last reader has gone."""
        assert isinstance(turn, FollowedTurn)
        if self._followed.pop(turn.begun.turn_id, None) is not None:
            self._spawn(self._post(turn.process, Leave(self._link.process, (turn.begun.turn_id,))))

    async def _begin(self, turn: FollowedTurn) -> None:
        """Ask its process for a turn. One that has ended since it was located says nothing more; the log has what it had."""
        await self._ask(turn)
        with suppress(RelayUnavailable):
            if turn.process not in await self._link.asked(self._link.relay.living()):
                await self._look_after(turn, None)

    async def _ask(self, turn: FollowedTurn) -> None:
        turns = {turn.begun.turn_id: turn.fold.tape.end}
        await self._post(turn.process, Follow(self._link.process, turns, again=True))

    def _read(self, letter: Letter) -> bool:
        if not isinstance(letter, TapeGrown | TurnOver | TurnUnknown):
            return False
        turn = self._followed.get(letter.turn_id)
        if turn is None:
            return True
        turn.heard = self._loop.time()
        match letter:
            case TapeGrown(_, position, data):
                if append_tape(turn.fold.tape, position, data):
                    turn.publish()
                else:
                    self._spawn(self._ask(turn))
            case TurnOver(_, position):
                if position > turn.fold.tape.end:
                    self._spawn(self._ask(turn))
                else:
                    self._end(turn, _outcome(turn, letter))
            case TurnUnknown():
                self._spawn(self._look_after(turn, _LOST))
        return True

    def _end(self, turn: FollowedTurn, outcome: Outcome) -> None:
        # Whoever asks from now on is served from where the turn really is, or from the log.
        self._known.pop(turn.begun.turn_id, None)
        self._followed.pop(turn.begun.turn_id, None)
        if turn.outcome is None:
            turn.fold.tape.close()
            turn.end(outcome)

    def _pulse(self) -> None:
        if self._followed and not self._looking:
            self._looking = True
            self._spawn(self._look_around())

    async def _look_around(self) -> None:
        try:
            await self._keep_up()
        finally:
            self._looking = False

    async def _keep_up(self) -> None:
        """Tell owners that somebody reads, ask again where nothing was heard, and look after turns whose owner is gone."""
        try:
            living = await self._link.asked(self._link.relay.living())
        except RelayUnavailable:
            living = None
        now = self._loop.time()
        told: dict[tuple[str, bool], dict[str, int]] = {}
        for turn in list(self._followed.values()):
            silent = now - turn.heard > SILENT_S
            if living is None or turn.process in living:
                turn.orphan_since = None
                told.setdefault((turn.process, silent), {})[turn.begun.turn_id] = turn.fold.tape.end
            elif turn.orphan_since is None:
                turn.orphan_since = now
            if silent or turn.orphan_since is not None:
                await self._look_after(turn, self._given_up(turn, now))
        for (process, again), turns in told.items():
            await self._post(process, Follow(self._link.process, turns, again))

    def _given_up(self, turn: FollowedTurn, now: float) -> TurnError | None:
        """What to tell readers of a turn that nothing more will come of."""
        if turn.orphan_since is not None and now - turn.orphan_since > ORPHAN_S:
            return INTERRUPTED
        if time.time() - turn.begun.started_ms / 1000 > self._turn_timeout_s + ORPHAN_S:
            return _LOST
        return None

    async def _look_after(self, turn: FollowedTurn, otherwise: TurnError | None) -> None:
        """Give a turn the end that the log holds (its process, or who recovers its journal, put it there), or another one."""
        try:
            stored = await self._store.turn(turn.begun.turn_id)
        except StoreUnavailable:
            stored = None
        if turn.begun.turn_id not in self._followed:
            return
        if stored is not None:
            ended = replay(stored)
            assert ended.outcome is not None
            copy_tape(turn.fold.tape, ended.fold.tape)
            turn.publish()
            self._end(turn, ended.outcome)
        elif otherwise is not None:
            self._end(turn, not_logged(turn.begun, otherwise))

    async def _post(self, process: str, letter: Letter) -> None:
        # If it does not arrive, the next pulse says it again; a departure is noticed by silence.
        with suppress(RelayUnavailable):
            await self._link.outbox.post(process, letter)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _outcome(turn: LiveTurn, over: TurnOver) -> Outcome:
    if over.record is None:
        return not_logged(turn.begun, over.error or _LOST)
    return outcome_of(turn.begun, over.record.ended, over.message_id, over.conversation_id)
