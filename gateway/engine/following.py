"""Turns that run in another process, followed from the relay as if they ran here."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.fold import Fold
from gateway.core.turn import TurnBegun, TurnError
from gateway.engine.live import LiveTurn, Outcome
from gateway.engine.replay import outcome_of, replay
from gateway.engine.tape_json import append_tape
from gateway.store.base import (
    Relay,
    RelayBegun,
    RelayEnded,
    RelayEntry,
    RelayTape,
    RelayUnavailable,
    Store,
    StoreUnavailable,
)
from gateway.wire.frames import failed_body, failed_frame, turn_error

log = logging.getLogger(__name__)

READ_S: Final = 0.1
PULSE_S: Final = 3.0
ATTENDED_S: Final = 15
ORPHAN_S: Final = 15.0
_BEGINNING: Final = "0"


@dataclass(slots=True)
class _Followed:
    """A turn of another process: where to read on, and since when that process has not been seen.

    `unread` is set when nobody read it at the last look.
    """

    turn: LiveTurn
    process: str
    place: str
    orphan_since: float | None = None
    unread: bool = False


class Following:
    """One reading loop for all turns that are followed here."""

    def __init__(self, relay: Relay, store: Store) -> None:
        self._relay = relay
        self._store = store
        self._followed: dict[str, _Followed] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looked = 0.0

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.get_running_loop().create_task(self._read_forever())

    async def close(self) -> None:
        """Stop reading; readers of what was followed are told to come back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for followed in list(self._followed.values()):
            self._orphaned(followed, TurnError("shutting_down", "The server is restarting; please go on.", True, 1))

    async def find(self, turn_id: str, wait_s: float) -> LiveTurn | None:
        """A turn that the relay knows, waiting up to `wait_s` for its beginning.

        Raises `GatewayError` `turn_elsewhere` while the relay is away.
        """
        known = self._followed.get(turn_id)
        if known is not None:
            return known.turn
        try:
            entries = await self._relay.read({turn_id: _BEGINNING}, wait_s)
        except RelayUnavailable:
            raise GatewayError(
                "turn_elsewhere", "The reply is being written elsewhere; try again in a moment.", retry_after=2
            ) from None
        if not entries or not isinstance(entries[0].value, RelayBegun):
            return None
        if turn_id in self._followed:
            return self._followed[turn_id].turn
        return self._follow(entries[0].value, entries)

    async def stop(self, turn: LiveTurn) -> None:
        """Ask the turn's own process to stop it. Raises `GatewayError` `turn_elsewhere` while the relay is away."""
        try:
            await self._relay.tell("stop", turn.begun.turn_id)
        except RelayUnavailable:
            raise GatewayError("turn_elsewhere", "The turn cannot be reached now; try again.", retry_after=2) from None

    def follows(self, turn: LiveTurn) -> bool:
        """Whether the turn runs in another process."""
        return turn.begun.turn_id in self._followed

    def _follow(self, begun: RelayBegun, entries: list[RelayEntry]) -> LiveTurn:
        turn = LiveTurn(begun.begun, Fold(time.time), lambda _: None)
        turn_id = turn.begun.turn_id
        followed = self._followed[turn_id] = _Followed(turn, begun.process, entries[-1].place)
        for entry in entries:
            self._apply(followed, entry)
        self._wanted.set()
        self._looked = 0.0
        return turn

    def _apply(self, followed: _Followed, entry: RelayEntry) -> None:
        turn = followed.turn
        followed.place = entry.place
        match entry.value:
            case RelayTape(data):
                if append_tape(turn.fold.tape, data):
                    turn.publish()
                else:
                    followed.place = _BEGINNING
            case RelayEnded(record, receipt):
                self._end(turn, outcome_of(record.begun, record.ended, receipt.message_id, receipt.conversation_id))
            case RelayBegun():
                pass

    def _end(self, turn: LiveTurn, outcome: Outcome) -> None:
        self._followed.pop(turn.begun.turn_id, None)
        if turn.outcome is None:
            turn.end(outcome)

    async def _read_forever(self) -> None:
        while True:
            if not self._followed:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                await self._read()
                if time.monotonic() - self._looked >= PULSE_S:
                    self._looked = time.monotonic()
                    await self._pulse()
            except RelayUnavailable:
                await asyncio.sleep(PULSE_S)
            except Exception:
                log.exception("turns of other processes could not be followed")
                await asyncio.sleep(PULSE_S)

    async def _read(self) -> None:
        known = dict(self._followed)
        places = {turn_id: followed.place for turn_id, followed in known.items()}
        for entry in await self._relay.read(places, READ_S):
            followed = known[entry.turn_id]
            if self._followed.get(entry.turn_id) is followed:
                self._apply(followed, entry)

    async def _pulse(self) -> None:
        """Tell owners that somebody reads, let go of what nobody reads, and look after turns whose owner is gone."""
        self._let_go()
        await self._relay.attend([turn_id for turn_id, followed in self._followed.items() if followed.turn.readers], ATTENDED_S)
        living = {process: await self._relay.lives(process) for process in {f.process for f in self._followed.values()}}
        for followed in list(self._followed.values()):
            if living[followed.process]:
                followed.orphan_since = None
            else:
                await self._look_after(followed)

    def _let_go(self) -> None:
        """Of turns that nobody has read between two looks: one that was just found has its reader on the way."""
        for turn_id, followed in list(self._followed.items()):
            if followed.unread and not followed.turn.readers:
                del self._followed[turn_id]
            followed.unread = not followed.turn.readers

    async def _look_after(self, followed: _Followed) -> None:
        """Its process died: the log gets the turn from the journal when a worker takes that over."""
        now = time.monotonic()
        followed.orphan_since = followed.orphan_since or now
        try:
            stored = await self._store.turn(followed.turn.begun.turn_id)
        except StoreUnavailable:
            stored = None
        if stored is not None:
            outcome = replay(stored).outcome
            assert outcome is not None
            self._end(followed.turn, outcome)
        elif now - followed.orphan_since > ORPHAN_S:
            error = TurnError("interrupted", "The server restarted before the reply was whole; please try again.", True, 1)
            self._orphaned(followed, error)

    def _orphaned(self, followed: _Followed, error: TurnError) -> None:
        begun: TurnBegun = followed.turn.begun
        frame = failed_frame(begun.turn_id, failed_body(begun, error))
        self._end(followed.turn, Outcome(None, None, frame, turn_error(error, begun.turn_id)))
