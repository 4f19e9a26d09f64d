"""Finding a turn again: running here, ended lately, or stored."""

import time
from collections.abc import Callable
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.ids import turn_time
from gateway.engine.following import Following
from gateway.engine.live import LiveTurn
from gateway.engine.replay import replay
from gateway.engine.runner import Engine
from gateway.store.base import RelayUnavailable, Store, StoreUnavailable

Mine = Callable[[str | None], bool]
_CLOCK_SKEW_S: Final = 60
# A turn this young may not have been accepted yet by the process that claimed its key, nor be known to the relay.
_NEW_S: Final = 5.0


class Lookup:
    """Finds turns by id for those who may read them."""

    def __init__(self, engine: Engine, store: Store, following: Following | None, turn_timeout_s: float) -> None:
        self._engine = engine
        self._store = store
        self._following = following
        self._turn_timeout_s = turn_timeout_s

    async def find(self, turn_id: str, mine: Mine) -> LiveTurn:
        """The turn, running or put back on its tape. `mine` tells whether a turn's caller may be the one who asks.

        Raises `GatewayError`: `not_found` (also for another caller's), `turn_elsewhere` for a turn so young that another
        process may be running it, `log_unavailable`.
        """
        turn = self._here(turn_id) or await self._elsewhere(turn_id)
        if turn is None or not mine(turn.begun.caller):
            raise GatewayError("not_found", "There is no such turn.")
        return turn

    def _here(self, turn_id: str) -> LiveTurn | None:
        return self._engine.find(turn_id) or (self._following.known(turn_id) if self._following else None)

    async def _elsewhere(self, turn_id: str) -> LiveTurn | None:
        made = turn_time(turn_id)
        if made is None:
            return None
        found, error = await self._stored(turn_id)
        age = time.time() - made
        young = -_CLOCK_SKEW_S < age < self._turn_timeout_s
        if found is None and young and self._following is not None:
            found = await self._followed(turn_id, max(0.0, _NEW_S - age))
            if found is None:
                # It may have ended between the two looks: no longer followed, and stored by now.
                found, error = await self._stored(turn_id)
        if found is None and (young or error.code == "log_unavailable"):
            raise error
        return found

    async def _stored(self, turn_id: str) -> tuple[LiveTurn | None, GatewayError]:
        """The turn as the log has it; where it has none, why that may be."""
        elsewhere = GatewayError("turn_elsewhere", "The reply is being written elsewhere; try again in a moment.", retry_after=2)
        try:
            stored = await self._store.turn(turn_id)
        except StoreUnavailable:
            detail = "The reply cannot be read now; try again in a moment."
            return None, GatewayError("log_unavailable", detail, retry_after=2)
        return (None if stored is None else replay(stored)), elsewhere

    async def _followed(self, turn_id: str, wait_s: float) -> LiveTurn | None:
        if self._following is None:
            return None
        try:
            return await self._following.find(turn_id, wait_s)
        except RelayUnavailable:
            return None
