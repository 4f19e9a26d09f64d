"""Idempotency keys: the same caller repeating a key gets the same turn, whatever happens in between."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnRecord
from gateway.engine.live import LiveTurn, Outcome
from gateway.engine.lookup import Lookup
from gateway.store.base import Claim, ClaimStore, StoreUnavailable

Begin = Callable[[str], Awaitable[LiveTurn]]
Place = tuple[str | None, str]

BOUND_S: Final = 86_400
_REMEMBERED: Final = 20_000
_STEALS: Final = 3


@dataclass(slots=True)
class _Opening:
    """A key whose turn is being looked for, or begun."""

    request_hash: str
    task: asyncio.Task[LiveTurn]


@dataclass(slots=True)
class _Begun:
    """A key whose turn began here, `at` (monotonic seconds); `free`: it ended in a way after which the key may begin another."""

    request_hash: str
    turn_id: str
    at: float
    free: bool = False


class Keys:
    """Opens turns by key: joins the one that runs, replays the one that ended, begins one when the key is free.

    Claims in the log decide. What is remembered here saves asking them, and stands in for them while the log is away.
    """

    def __init__(self, claims: ClaimStore, lookup: Lookup) -> None:
        self._claims = claims
        self._lookup = lookup
        self._opening: dict[Place, _Opening] = {}
        self._begun: OrderedDict[Place, _Begun] = OrderedDict()

    async def open(self, caller: str | None, key: str, request_hash: str, begin: Begin) -> LiveTurn:
        """The turn of a key; `begin(turn_id)` starts it where there is none.

        Raises `GatewayError` `idempotency_mismatch` for another request under the same key, and whatever `begin` raises.
        """
        place = (caller, key)
        while (opening := self._opening.get(place)) is not None and opening.request_hash != request_hash:
            # Which of the two requests the key belongs to is not known yet.
            await asyncio.wait((opening.task,))
        if opening is None:
            opening = self._begin_opening(place, request_hash, begin)
        # The task goes on when its first waiter's client hangs up: others may be waiting for the same turn.
        return await asyncio.shield(opening.task)

    def _begin_opening(self, place: Place, request_hash: str, begin: Begin) -> _Opening:
        task = asyncio.get_running_loop().create_task(self._open(place, request_hash, begin))
        opening = self._opening[place] = _Opening(request_hash, task)

        def opened(task: asyncio.Task[LiveTurn]) -> None:
            del self._opening[place]
            if not task.cancelled():
                task.exception()  # whoever waited for it may have gone

        task.add_done_callback(opened)
        return opening

    async def find(self, caller: str | None, key: str) -> LiveTurn:
        """The turn a key stands for. Raises `GatewayError` `not_found`, and what `Lookup.find` raises."""
        place = (caller, key)
        if (opening := self._opening.get(place)) is not None:
            return await asyncio.shield(opening.task)
        known = self._known(place)
        turn_id = known.turn_id if known is not None else await self._claimed(place)
        return await self._lookup.find(turn_id, lambda owner: owner == caller)

    async def join(self, caller: str | None, key: str, request_hash: str) -> LiveTurn | None:
        """The turn of a key, for a process that begins none; None for a free key.

        Raises `GatewayError` `idempotency_mismatch`, and what `Lookup.find` raises.
        """
        try:
            turn = await self.find(caller, key)
        except GatewayError as error:
            if error.code in ("not_found", "log_unavailable"):
                return None
            raise
        return None if frees_key(turn) else _joined(turn, turn.begun.request_hash, request_hash)

    async def settle(self, patience_s: float | None = None) -> None:
        """Wait for turns that are being opened, also those whose clients have hung up meanwhile."""
        if self._opening:
            await asyncio.wait([opening.task for opening in self._opening.values()], timeout=patience_s)

    async def _claimed(self, place: Place) -> str:
        try:
            claim = await self._claims.claimed(*place)
        except StoreUnavailable:
            raise GatewayError(
                "log_unavailable", "The turn cannot be looked up now; try again in a moment.", retry_after=2
            ) from None
        if claim is None:
            raise GatewayError("not_found", "There is no turn with this Idempotency-Key.")
        return claim.turn_id

    async def _open(self, place: Place, request_hash: str, begin: Begin) -> LiveTurn:
        known = self._known(place)
        if known is not None and not known.free:
            turn = await self._bound(Claim(known.turn_id, known.request_hash), place)
            if turn is None:
                # On its way from the journal to the log: another turn under its key would be paid for twice.
                raise GatewayError("turn_elsewhere", "The reply cannot be read now; try again in a moment.", retry_after=2)
            if not frees_key(turn):
                return _joined(turn, known.request_hash, request_hash)
        return await self._claim(place, request_hash, None if known is None else known.turn_id, begin)

    async def _claim(self, place: Place, request_hash: str, freed: str | None, begin: Begin) -> LiveTurn:
        wanted = Claim(new_turn_id(), request_hash)
        for _ in range(_STEALS):
            try:
                bound = await self._claims.claim(*place, wanted, freed)
            except StoreUnavailable:
                # Kept in this process alone until the turn itself is stored, and the key with it.
                return self._remember(place, request_hash, await begin(wanted.turn_id))
            if bound.turn_id == wanted.turn_id:
                return self._remember(place, request_hash, await self._begin(place, wanted.turn_id, begin))
            try:
                turn = await self._bound(bound, place)
            except GatewayError:
                if await self._stands(bound, place):
                    raise
                continue
            if turn is not None and not frees_key(turn):
                return _joined(turn, bound.request_hash, request_hash)
            freed = bound.turn_id
        raise GatewayError("overloaded", "Too many requests with the same Idempotency-Key; try again.", retry_after=1)

    async def _begin(self, place: Place, turn_id: str, begin: Begin) -> LiveTurn:
        """A request that is refused before it is accepted does not keep its key."""
        try:
            return await begin(turn_id)
        except Exception:
            with suppress(StoreUnavailable):
                await self._claims.unclaim(*place, turn_id)
            raise

    async def _bound(self, bound: Claim, place: Place) -> LiveTurn | None:
        """The turn a key is bound to, or None when it never came to be: its process died before accepting it."""
        try:
            return await self._lookup.find(bound.turn_id, lambda owner: owner == place[0])
        except GatewayError as error:
            if error.code == "not_found":
                return None
            raise

    async def _stands(self, bound: Claim, place: Place) -> bool:
        """Whether a claim whose turn was not found still holds: a process that cannot begin a turn gives its key back."""
        try:
            return await self._claims.claimed(*place) == bound
        except StoreUnavailable:
            return True

    def _known(self, place: Place) -> _Begun | None:
        known = self._begun.get(place)
        return known if known is not None and time.monotonic() - known.at < BOUND_S else None

    def _remember(self, place: Place, request_hash: str, turn: LiveTurn) -> LiveTurn:
        known = self._begun[place] = _Begun(request_hash, turn.begun.turn_id, time.monotonic())
        self._begun.move_to_end(place)
        if len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)

        def ended(outcome: Outcome) -> None:
            known.free = _frees(turn, outcome)

        turn.when_ended(ended)
        return turn


def frees_key(turn: LiveTurn) -> bool:
    """Whether a turn has ended in a way after which its key may begin another."""
    return turn.outcome is not None and _frees(turn, turn.outcome)


def _frees(turn: LiveTurn, outcome: Outcome) -> bool:
    return outcome.ended is None or not TurnRecord(turn.begun, outcome.ended).binds_key


def _joined(turn: LiveTurn, bound_to: str, request_hash: str) -> LiveTurn:
    if bound_to != request_hash:
        raise _mismatch()
    return turn


def _mismatch() -> GatewayError:
    return GatewayError("idempotency_mismatch", "This Idempotency-Key was used for another request.")
