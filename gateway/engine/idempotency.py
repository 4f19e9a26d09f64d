"""Idempotency keys: the same caller repeating a key gets the same turn, whatever happens in between."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnRecord
from gateway.engine.live import LiveTurn
from gateway.engine.lookup import Lookup
from gateway.store.base import Claim, ClaimStore, StoreUnavailable

Begin = Callable[[str], Awaitable[LiveTurn]]
_REMEMBERED: Final = 20_000
_STEALS: Final = 3


@dataclass(slots=True, eq=False)
class _Known:
    """A key used in this process, and what it stands for.

    `opening` brings a turn that runs here or is just being found; behind that only the `turn_id` is kept, for the log or
    another process has the turn. `free` when the key may begin another.
    """

    request_hash: str
    opening: asyncio.Task[LiveTurn] | None = None
    turn_id: str | None = None
    own: bool = False
    free: bool = False

    def opened(self, opening: asyncio.Task[LiveTurn]) -> None:
        """The turn is known, or it came to nothing."""
        if opening.cancelled() or opening.exception() is not None:
            self.free, self.opening = True, None
            return
        turn = opening.result()
        self.turn_id = turn.begun.turn_id
        if self.own:
            turn.when_ended(lambda outcome: self._ended(frees_key(turn)))
        else:
            self.opening = None

    def _ended(self, free: bool) -> None:
        self.free, self.opening = free, None


class Keys:
    """Opens turns by key: joins the one that runs, replays the one that ended, begins one when the key is free."""

    def __init__(self, claims: ClaimStore, lookup: Lookup) -> None:
        self._claims = claims
        self._lookup = lookup
        self._known: dict[tuple[str | None, str], _Known] = {}

    async def open(self, caller: str | None, key: str, request_hash: str, begin: Begin) -> LiveTurn:
        """The turn of a key; `begin(turn_id)` starts it where there is none.

        Raises `GatewayError` `idempotency_mismatch` for another request under the same key, and whatever `begin` raises.
        """
        known = self._known.get((caller, key))
        if known is None or known.free:
            known = self._begin_opening(caller, key, request_hash, begin, None if known is None else known.turn_id)
        elif known.request_hash != request_hash:
            raise _mismatch()
        if known.opening is not None:
            # The task goes on when its first waiter's client hangs up: others may be waiting for the same turn.
            return await asyncio.shield(known.opening)
        turn = await self._bound(known.turn_id or "", caller)
        if turn is not None:
            return turn
        if known.own:
            # On its way from the journal to the log: another turn under its key would be paid for twice.
            raise GatewayError("turn_elsewhere", "The reply cannot be read now; try again in a moment.", retry_after=2)
        known.free = True
        return await self.open(caller, key, request_hash, begin)

    def _begin_opening(self, caller: str | None, key: str, request_hash: str, begin: Begin, freed: str | None) -> _Known:
        self._prune()
        known = self._known[caller, key] = _Known(request_hash)
        known.opening = asyncio.get_running_loop().create_task(self._open(known, caller, key, freed, begin))
        known.opening.add_done_callback(known.opened)
        return known

    async def find(self, caller: str | None, key: str) -> LiveTurn:
        """The turn a key stands for. Raises `GatewayError` `not_found`, and what `Lookup.find` raises."""
        known = self._known.get((caller, key))
        if known is not None and known.opening is not None:
            return await asyncio.shield(known.opening)
        turn_id = None if known is None else known.turn_id
        if turn_id is None:
            turn_id = await self._claimed(caller, key)
        if turn_id is None:
            raise GatewayError("not_found", "There is no turn with this Idempotency-Key.")
        return await self._lookup.find(turn_id, lambda owner: owner == caller)

    async def _claimed(self, caller: str | None, key: str) -> str | None:
        try:
            claim = await self._claims.claimed(caller, key)
        except StoreUnavailable:
            return None
        return None if claim is None else claim.turn_id

    async def close(self) -> None:
        """Wait for turns that are being opened."""
        opening = [known.opening for known in self._known.values() if known.opening is not None and not known.opening.done()]
        if opening:
            await asyncio.wait(opening)

    async def _open(self, known: _Known, caller: str | None, key: str, freed: str | None, begin: Begin) -> LiveTurn:
        wanted = Claim(new_turn_id(), known.request_hash)
        for _ in range(_STEALS):
            try:
                bound = await self._claims.claim(caller, key, wanted, freed)
            except StoreUnavailable:
                # Kept in this process alone until the turn itself is stored, and the key with it.
                known.own = True
                return await begin(wanted.turn_id)
            if bound.turn_id == wanted.turn_id:
                known.own = True
                return await self._begin(caller, key, wanted.turn_id, begin)
            turn = await self._bound(bound.turn_id, caller)
            if turn is not None and not frees_key(turn):
                if bound.request_hash != wanted.request_hash:
                    raise _mismatch()
                return turn
            freed = bound.turn_id
        raise GatewayError("overloaded", "Too many requests with the same Idempotency-Key; try again.", retry_after=1)

    async def _begin(self, caller: str | None, key: str, turn_id: str, begin: Begin) -> LiveTurn:
        """A request that is refused before it is accepted does not keep its key."""
        try:
            return await begin(turn_id)
        except Exception:
            with suppress(StoreUnavailable):
                await self._claims.unclaim(caller, key, turn_id)
            raise

    async def _bound(self, turn_id: str, caller: str | None) -> LiveTurn | None:
        """The turn a key is bound to, or None when it never came to be: its process died before accepting it."""
        try:
            return await self._lookup.find(turn_id, lambda owner: owner == caller)
        except GatewayError as error:
            if error.code == "not_found":
                return None
            raise

    def _prune(self) -> None:
        """Keys of turns that are no longer in memory are found through the log."""
        if len(self._known) >= _REMEMBERED:
            for place in [place for place, known in self._known.items() if known.opening is None]:
                del self._known[place]


def frees_key(turn: LiveTurn) -> bool:
    """Whether a turn has ended in a way after which its key may begin another."""
    outcome = turn.outcome
    if outcome is None:
        return False
    return outcome.ended is None or not TurnRecord(turn.begun, outcome.ended).binds_key


def _mismatch() -> GatewayError:
    return GatewayError("idempotency_mismatch", "This Idempotency-Key was used for another request.")
