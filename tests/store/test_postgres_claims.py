"""Idempotency keys: one turn each, for a day."""

import asyncio

import asyncpg

from gateway.core.ids import new_turn_id
from gateway.core.turn import TurnError
from gateway.store.base import Claim
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn


def claim(request: str = "a" * 64) -> Claim:
    return Claim(new_turn_id(), request)


async def test_the_first_claim_holds(store: PostgresStore) -> None:
    first, second = claim(), claim("b" * 64)
    assert await store.claimed("user:1", "key") is None
    assert await store.claim("user:1", "key", first) == first
    assert await store.claim("user:1", "key", second) == first
    assert await store.claimed("user:1", "key") == first
    assert await store.claim("user:2", "key", second) == second
    assert await store.claim(None, "key", claim()) != first


async def test_a_key_can_be_taken_from_the_turn_it_was_freed_by(store: PostgresStore) -> None:
    first, second, third = claim(), claim(), claim()
    await store.claim(None, "key", first)
    assert await store.claim(None, "key", second, instead_of=third.turn_id) == first
    assert await store.claim(None, "key", second, instead_of=first.turn_id) == second
    assert await store.claim(None, "key", third, instead_of=first.turn_id) == second


async def test_a_day_frees_a_key(store: PostgresStore, database_url: str) -> None:
    old, new = claim(), claim()
    await store.claim(None, "key", old)
    await store.claim(None, "forgotten", old)
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE idempotency_keys SET claimed_at = claimed_at - interval '26 hours'")
    assert await store.claimed(None, "key") is None
    assert await store.claim(None, "key", new) == new
    assert await connection.fetch("SELECT key FROM idempotency_keys") == [("key",)]
    await connection.close()


async def test_of_many_at_once_one_wins(database_url: str) -> None:
    stores = [PostgresStore(parse_dsn(database_url)) for _ in range(3)]
    try:
        bound = await asyncio.gather(*(store.claim(None, "key", claim()) for store in stores for _ in range(8)))
    finally:
        await asyncio.gather(*(store.close() for store in stores))
    assert len(set(bound)) == 1


async def test_a_stored_turn_binds_its_key(store: PostgresStore) -> None:
    """What was claimed in one process alone, while the database was away, is known to all once the turn is stored."""
    failed = TurnError("provider_error", "تعذّر", retryable=True)
    kept = turn("a", idempotency_key="kept", caller="user:1")
    freed = turn("b", idempotency_key="freed", caller="user:1", status="failed", error=failed)
    await store.put([kept, freed])
    assert await store.claimed("user:1", "kept") == Claim(kept.begun.turn_id, kept.begun.request_hash)
    assert await store.claimed("user:1", "freed") is None
