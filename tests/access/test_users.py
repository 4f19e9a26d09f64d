"""Accounts: made once, looked after, forgotten with all they said."""

import asyncio
import time

import asyncpg
import pytest

from gateway.access.callers import Caller
from gateway.access.identity import Identity
from gateway.access.users import Users
from gateway.core.errors import GatewayError
from gateway.store.base import Store, StoreUnavailable, Viewer
from gateway.store.postgres import PostgresStore
from tests.access.databases import OwnDatabase, Switch
from tests.store.samples import turn

AISHA = Identity("google", "110169484474386276334", "aisha@example.com")
BILAL = Identity("apple", "001473.2e0ae17d4b.0741", "bilal@example.com")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(user_id: int, issued_at: float | None = None) -> Caller:
    return Caller("user", f"user:{user_id}", issued_at=int(time.time() if issued_at is None else issued_at))


@pytest.fixture
def switch(database: OwnDatabase) -> Switch:
    return Switch(database.pool())


@pytest.fixture
def users(switch: Switch, store: PostgresStore) -> Users:
    return Users(switch, store)


async def test_an_identity_has_one_account(users: Users, database: OwnDatabase) -> None:
    aisha, bilal = await users.sign_in(AISHA), await users.sign_in(BILAL)
    assert aisha.id != bilal.id
    assert await users.sign_in(AISHA) == aisha
    assert (aisha.provider, aisha.email) == ("google", "aisha@example.com")
    assert await users.get(bilal.id) == bilal
    assert bilal.provider == "apple"
    rows = await database.rows("SELECT google_id, apple_id, is_active, daily_requests FROM users ORDER BY id")
    assert [tuple(row) for row in rows] == [(AISHA.subject, None, True, 0), (None, BILAL.subject, True, 0)]


async def test_100_at_once_make_one_account(database: OwnDatabase, store: PostgresStore) -> None:
    replicas = [Users(database.pool(), store), Users(database.pool(), store)]
    found = await asyncio.gather(*(replicas[n % 2].sign_in(AISHA) for n in range(100)))
    assert len({user.id for user in found}) == 1
    assert len(await database.rows("SELECT id FROM users")) == 1


async def test_accounts_are_never_joined_by_address(users: Users) -> None:
    one = await users.sign_in(Identity("google", "1", "same@example.com"))
    other = await users.sign_in(Identity("apple", "1", "same@example.com"))
    third = await users.sign_in(Identity("google", "2", "same@example.com"))
    assert len({one.id, other.id, third.id}) == 3
    assert {one.email, other.email, third.email} == {"same@example.com"}


async def test_an_address_is_kept_when_a_later_token_has_none(users: Users) -> None:
    await users.sign_in(BILAL)
    assert (await users.sign_in(Identity("apple", BILAL.subject, None))).email == BILAL.email
    assert (await users.sign_in(Identity("apple", BILAL.subject, "new@example.com"))).email == "new@example.com"


async def test_an_account_that_was_switched_off(users: Users, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    await database.rows("UPDATE users SET is_active = false, last_used = NULL")
    with pytest.raises(GatewayError) as refused:
        await users.sign_in(AISHA)
    assert refused.value.code == "forbidden"
    with pytest.raises(GatewayError) as refused:
        await users.admit(caller(user.id))
    assert refused.value.code == "unauthenticated"
    assert await users.get(user.id) is None
    assert (await database.rows("SELECT last_used FROM users"))[0]["last_used"] is None


async def test_accounts_are_looked_at_once_a_minute(switch: Switch, store: Store, database: OwnDatabase) -> None:
    clock = Clock()
    users = Users(switch, store, clock=clock)
    user = await users.sign_in(AISHA)
    await database.rows("UPDATE users SET last_used = NULL")
    await users.admit(caller(user.id))
    assert (await database.rows("SELECT last_used FROM users"))[0]["last_used"] is not None
    await database.rows("DELETE FROM users")
    clock.now += 59
    await users.admit(caller(user.id))
    clock.now += 1
    for _ in range(2):
        with pytest.raises(GatewayError):
            await users.admit(caller(user.id))


async def test_without_the_database_a_signature_is_enough(switch: Switch, users: Users) -> None:
    switch.away = True
    await users.admit(caller(7))
    await users.admit(caller(8))
    with pytest.raises(StoreUnavailable):
        await users.get(7)
    with pytest.raises(StoreUnavailable):
        await users.sign_in(AISHA)


async def test_others_than_users_need_no_account(switch: Switch, users: Users) -> None:
    switch.away = True
    for other in (Caller("key", "key:app"), Caller("admin", "admin", reads_everything=True), Caller("anonymous")):
        await users.admit(other)


async def test_a_token_older_than_the_account_is_somebody_else_s(users: Users) -> None:
    user = await users.sign_in(AISHA)
    await users.admit(caller(user.id))
    with pytest.raises(GatewayError):
        await users.admit(caller(user.id, time.time() - 3600))
    await users.admit(caller(user.id))


async def test_the_day_s_count_shows_where_the_older_server_kept_it(users: Users, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    await database.rows("INSERT INTO daily_usage VALUES ($1, (now() AT TIME ZONE 'utc')::date, 4)", f"user:{user.id}")
    await users.admit(caller(user.id))
    rows = await database.rows("SELECT daily_requests, daily_reset_date = (now() AT TIME ZONE 'utc')::date AS today FROM users")
    assert tuple(rows[0]) == (4, True)


async def said(store: Store, user: str) -> None:
    """Two conversations of the user, a third where they are a guest, and a fourth of somebody else."""
    await store.put([turn("own-1", caller=user), turn("own-2", caller=user), turn("open"), turn("other", caller="user:999")])
    await store.put([turn("own-1", caller=user), turn("open", caller=user)])


async def test_deleting_forgets_all_they_said_and_nothing_else(users: Users, store: Store, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    own = f"user:{user.id}"
    await said(store, own)
    await database.rows("INSERT INTO daily_usage VALUES ($1, '2025-11-22', 4)", own)
    await database.rows(
        "INSERT INTO idempotency_keys (caller, key, turn_id, request_hash) VALUES ($1, 'k', gen_random_uuid(), '')", own
    )
    await users.delete(user.id)
    for table, column in (
        ("users", "id::text"),
        ("conversations", "owner"),
        ("messages", "caller"),
        ("conversation_guests", "caller"),
        ("daily_usage", "caller"),
        ("idempotency_keys", "caller"),
    ):
        assert await database.rows(f"SELECT 1 FROM {table} WHERE {column} = ANY($1)", [own, str(user.id)]) == [], table
    kept = await database.rows("SELECT id FROM conversations ORDER BY id")
    assert [row["id"] for row in kept] == ["open", "other"]
    assert len(await database.rows("SELECT 1 FROM messages")) == 4
    with pytest.raises(GatewayError):
        await users.admit(caller(user.id))
    await users.delete(user.id)


async def test_nothing_of_a_deleted_user_is_written_later(users: Users, store: Store, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    own = f"user:{user.id}"
    await users.delete(user.id)
    later = int(time.time() * 1000) + 60_000
    stored = await store.put([turn("late", caller=own), turn("later", caller=own, started_ms=later), turn("other")])
    assert [place.message_id is None for place in stored] == [True, True, False]
    assert [row["id"] for row in await database.rows("SELECT id FROM conversations")] == ["other"]


async def test_deleting_waits_for_turns_being_written(users: Users, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    own = f"user:{user.id}"
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = $1::oid"
    writer = await asyncpg.connect(database.url)
    number = await writer.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    async with writer.transaction():
        assert await writer.fetchval("SELECT turn_outlives_deletion('own', $1, 0)", own)
        deleting = asyncio.create_task(users.delete(user.id))
        while not await database.rows(waiting, number):
            assert not deleting.done()
        await writer.execute("INSERT INTO conversations (id, owner) VALUES ('own', $1)", own)
    await writer.close()
    await deleting
    assert await database.rows("SELECT 1 FROM conversations") == []


async def test_a_deleted_user_who_comes_back_is_a_new_one(users: Users, store: Store) -> None:
    before = await users.sign_in(AISHA)
    await said(store, f"user:{before.id}")
    await users.delete(before.id)
    after = await users.sign_in(AISHA)
    assert after.id != before.id
    assert await store.conversation("own-1", Viewer(f"user:{after.id}")) is None
    stored = await store.put([turn("own-1", caller=f"user:{after.id}", started_ms=int(time.time() * 1000) + 1000)])
    assert stored[0].message_id is not None


async def test_deleting_goes_on_after_an_outage(database: OwnDatabase, store: PostgresStore) -> None:
    switch = Switch(database.pool())
    users = Users(switch, store)
    user = await users.sign_in(AISHA)
    await said(store, f"user:{user.id}")
    original = switch.run

    async def only_once(work: object) -> object:
        answer = await original(work)
        switch.away = True
        return answer

    switch.run = only_once  # type: ignore[method-assign]
    await users.delete(user.id)
    assert len(await database.rows("SELECT 1 FROM conversations WHERE owner = $1", f"user:{user.id}")) == 2
    await Users(database.pool(), store).finish_deletions()
    assert await database.rows("SELECT 1 FROM messages WHERE caller = $1", f"user:{user.id}") == []
    assert await database.rows("SELECT 1 FROM deleted_callers WHERE erased_at IS NULL") == []


async def test_many_conversations_go(users: Users, store: Store, database: OwnDatabase) -> None:
    user = await users.sign_in(AISHA)
    await store.put([turn(f"c-{number}", caller=f"user:{user.id}") for number in range(450)])
    await users.delete(user.id)
    assert await database.rows("SELECT 1 FROM messages") == []
