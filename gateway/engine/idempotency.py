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


@dataclass(slots=True)
class _Known:
    """A key used in this process; `opening` is done once its turn is known."""

    request_hash: str
    opening: asyncio.Task[LiveTurn]


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
        place = (caller, key)
        known = self._known.get(place)
        if known is None or _is_free(known):
            self._prune()
            freed = None if known is None else _turn_id(known)
            opening = asyncio.get_running_loop().create_task(self._open(caller, key, request_hash, freed, begin))
            known = self._known[place] = _Known(request_hash, opening)
        elif known.request_hash != request_hash:
            raise _mismatch()
        # The task goes on when its first waiter's client hangs up: others may be waiting for the same turn.
        return await asyncio.shield(known.opening)

    async def find(self, caller: str | None, key: str) -> LiveTurn:
        """The turn a key stands for. Raises `GatewayError` `not_found`, and what `Lookup.find` raises."""
        known = self._known.get((caller, key))
        if known is not None and not _is_free(known):
            return await asyncio.shield(known.opening)
        try:
            claim = await self._claims.claimed(caller, key)
        except StoreUnavailable:
            claim = None
        if claim is None:
            raise GatewayError("not_found", "There is no turn with this Idempotency-Key.")
        return await self._lookup.find(claim.turn_id, lambda owner: owner == caller)

    async def close(self) -> None:
        """Wait for turns that are being opened."""
        opening = [known.opening for known in self._known.values() if not known.opening.done()]
        if opening:
            await asyncio.wait(opening)

    async def _open(self, caller: str | None, key: str, request_hash: str, freed: str | None, begin: Begin) -> LiveTurn:
        wanted = Claim(new_turn_id(), request_hash)
        for _ in range(_STEALS):
            try:
                bound = await self._claims.claim(caller, key, wanted, freed)
            except StoreUnavailable:
                # Kept in this process alone until the turn itself is stored, and the key with it.
                return await begin(wanted.turn_id)
            if bound.turn_id == wanted.turn_id:
                return await self._begin(caller, key, wanted.turn_id, begin)
            turn = await self._bound(bound, caller)
            if turn is not None and not frees_key(turn):
                if bound.request_hash != request_hash:
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

    async def _bound(self, bound: Claim, caller: str | None) -> LiveTurn | None:
        """The turn a key is bound to, or None when it never came to be: its process died before accepting it."""
        try:
            return await self._lookup.find(bound.turn_id, lambda owner: owner == caller)
        except GatewayError as error:
            if error.code == "not_found":
                return None
            raise

    def _prune(self) -> None:
        """Keys of turns that are no longer in memory are found through the log."""
        if len(self._known) < _REMEMBERED:
            return
        for place, known in list(self._known.items()):
            if _is_free(known) or (known.opening.done() and known.opening.result().outcome is not None):
                del self._known[place]


def frees_key(turn: LiveTurn) -> bool:
    """Whether a turn has ended in a way after which its key may begin another."""
    outcome = turn.outcome
    if outcome is None:
        return False
    return outcome.ended is None or not TurnRecord(turn.begun, outcome.ended).binds_key


def _is_free(known: _Known) -> bool:
    opening = known.opening
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or frees_key(opening.result())


def _turn_id(known: _Known) -> str | None:
    """The turn behind a free key, where there is one: it may never have reached the log."""
    opening = known.opening
    return None if opening.cancelled() or opening.exception() is not None else opening.result().begun.turn_id


def _mismatch() -> GatewayError:
    return GatewayError("idempotency_mismatch", "This Idempotency-Key was used for another request.")
