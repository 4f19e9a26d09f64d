"""Idempotency keys in PostgreSQL."""

from gateway.store.base import Claim
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES


async def claim(connection: Connection, caller: str | None, key: str, wanted: Claim, instead_of: str | None) -> Claim:
    """See `ClaimStore.claim`."""
    arguments = (caller or "", key, wanted.turn_id, wanted.request_hash, instead_of)
    while True:
        row = await connection.fetchrow(QUERIES["claim"], *arguments)
        if row is not None:
            return wanted
        bound = await claimed(connection, caller, key)
        if bound is not None:
            return bound


async def claimed(connection: Connection, caller: str | None, key: str) -> Claim | None:
    """See `ClaimStore.claimed`."""
    row = await connection.fetchrow(QUERIES["claimed"], caller or "", key)
    return None if row is None else Claim(str(row["turn_id"]), row["request_hash"])


async def unclaim(connection: Connection, caller: str | None, key: str, turn_id: str) -> None:
    """See `ClaimStore.unclaim`."""
    await connection.execute(QUERIES["unclaim"], caller or "", key, turn_id)
