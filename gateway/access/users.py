"""People who signed in: their accounts, whether these still stand, and forgetting them with all they said."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.access.breaker import Breaker
from gateway.access.callers import Caller, user_caller
from gateway.access.identity import Identity
from gateway.access.sql import SQL, Database
from gateway.core.errors import GatewayError
from gateway.store.base import Store, StoreUnavailable, Viewer

log = logging.getLogger(__name__)

STANDING_S: Final = 60.0
_REMEMBERED: Final = 20_000
_SKEW_S: Final = 60
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class User:
    """An account. `created_at` is without zone, in UTC; None in accounts of the older server that had none."""

    id: int
    provider: str
    email: str | None
    created_at: datetime | None


class Users:
    """The `users` table. Methods raise `StoreUnavailable`, save `admit`, which waits at most `wait_s` seconds for it."""

    def __init__(
        self, database: Database, store: Store, wait_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._store = store
        self._wait_s = wait_s
        self._clock = clock
        self._breaker = Breaker(clock=clock)
        self._standing: OrderedDict[int, tuple[float, float]] = OrderedDict()

    async def sign_in(self, identity: Identity) -> User:
        """The account of an identity, made when there is none; an identity never gets two. Raises `GatewayError`
        `forbidden` for an account that was switched off."""
        row = await self._row("sign_in", identity.provider, identity.subject, identity.email)
        if row is None or not row["is_active"]:
            raise GatewayError("forbidden", "This account has been switched off.")
        return _user(row)

    async def get(self, user_id: int) -> User | None:
        """An account, or None when there is none (any more)."""
        row = await self._row("user", user_id)
        return None if row is None or not row["is_active"] else _user(row)

    async def admit(self, caller: Caller) -> None:
        """Let a caller pass whose account still stands; others need none. Raises `GatewayError` `unauthenticated`.

        Looks once a minute for each user, so that an account deleted through another replica is out within that time. A
        token older than the account is another person's: the database has gone back to an earlier state since. While the
        database is away the token's signature is enough.
        """
        if (user_id := caller.user_id) is None:
            return
        created, until = self._standing.get(user_id, (0.0, 0.0))
        if self._clock() >= until:
            if not self._breaker.lets_try():
                return
            try:
                async with asyncio.timeout(self._wait_s):
                    created = await self._look(user_id)
            except (StoreUnavailable, TimeoutError):
                self._breaker.failed()
                return
            self._breaker.worked()
        if created > (caller.issued_at or 0) + _SKEW_S:
            raise GatewayError("unauthenticated", "The account does not exist any more; sign in again.")

    async def delete(self, user_id: int) -> None:
        """Forget a user and everything they said.

        From here on no turn of theirs is written any more, whatever still runs or waits. What is left of the deleting when
        the database goes away meanwhile is done by `finish_deletions`.
        """
        caller = user_caller(user_id)

        async def bury(connection: Any) -> None:
            async with connection.transaction():
                await connection.execute(SQL["lock_caller"], caller)
                await connection.execute(SQL["bury_caller"], caller)
                await connection.execute(SQL["delete_user"], user_id)

        await self._database.run(bury)
        self._remember(user_id, _NEVER)
        try:
            await self._erase(caller)
        except StoreUnavailable:
            log.warning("the conversations of a deleted user are not all deleted yet: the database is away")

    async def finish_deletions(self) -> None:
        """Do what deletions left undone."""
        rows = await self._database.run(lambda connection: connection.fetch(SQL["unerased_callers"]))
        for row in rows:
            await self._erase(row["caller"])

    async def _erase(self, caller: str) -> None:
        while rows := await self._database.run(lambda connection: connection.fetch(SQL["conversations_of"], caller)):
            for row in rows:
                await self._store.delete_conversation(row["id"], Viewer(caller))
        await self._database.run(lambda connection: connection.execute(SQL["caller_erased"], caller))

    async def _look(self, user_id: int) -> float:
        row = await self._row("touch_user", user_id)
        created = _NEVER if row is None else float(row["created_s"])
        self._remember(user_id, created)
        return created

    def _remember(self, user_id: int, created: float) -> None:
        self._standing[user_id] = created, self._clock() + STANDING_S
        self._standing.move_to_end(user_id)
        if len(self._standing) > _REMEMBERED:
            self._standing.popitem(last=False)

    async def _row(self, name: str, *values: object) -> Any:
        return await self._database.run(lambda connection: connection.fetchrow(SQL[name], *values))


def _user(row: Any) -> User:
    return User(row["id"], row["provider"], row["email"], row["created_at"])
