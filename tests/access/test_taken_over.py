"""Accounts in a database that the older server made."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.access.callers import Caller
from gateway.access.daily import DailyLimits
from gateway.access.identity import Identity
from gateway.access.quota import OverLimit
from gateway.access.users import Users
from gateway.store.dsn import parse_dsn
from gateway.store.migrate import migrate
from gateway.store.postgres import PostgresStore
from tests.access.databases import OwnDatabase

OLDER = """
CREATE TABLE users (
    id serial PRIMARY KEY,
    auth_provider varchar(20) NOT NULL,
    google_id varchar(255) {google},
    apple_id varchar(255),
    email varchar(255) UNIQUE,
    created_at timestamp NOT NULL,
    last_used timestamp,
    is_active boolean,
    daily_requests integer,
    daily_reset_date timestamp
);
INSERT INTO users (auth_provider, google_id, apple_id, email, created_at, last_used, daily_requests, daily_reset_date) VALUES
    ('google', 'g-1', NULL, 'one@example.com', '2025-01-01', '2025-11-01', 28, now() AT TIME ZONE 'utc'),
    ('apple', NULL, 'a-2', NULL, '2025-01-02', NULL, 30, '2025-01-02'),
    ('google', 'g-3', NULL, 'three@example.com', '2025-01-03', '2025-03-01', NULL, NULL);
"""


async def taken_over(url: str, google: str, more: str = "") -> OwnDatabase:
    connection = await asyncpg.connect(url)
    await connection.execute(OLDER.format(google=google) + more)
    await connection.close()
    await migrate(parse_dsn(url))
    return OwnDatabase(url)


def users_of(database: OwnDatabase) -> Users:
    return Users(database.pool(), PostgresStore(parse_dsn(database.url)))


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[OwnDatabase]:
    database = await taken_over(empty_database_url, "UNIQUE")
    yield database
    await database.close()


async def test_accounts_are_found_again(database: OwnDatabase) -> None:
    users = users_of(database)
    assert (await users.sign_in(Identity("google", "g-1", "one@example.com"))).id == 1
    assert (await users.sign_in(Identity("apple", "a-2", None))).id == 2
    user = await users.get(3)
    assert user is not None
    assert (user.provider, user.email) == ("google", "three@example.com")
    await users.admit(Caller("user", "user:3", issued_at=1_763_812_800))


async def test_what_was_asked_today_counts(database: OwnDatabase) -> None:
    daily = DailyLimits(database.pool(), user_limit=30, key_limit=0)
    aisha = Caller("user", "user:1")
    assert await daily.used("user:1") == 28
    assert await daily.used("user:2") == 0
    await daily.reserve(aisha)
    await daily.reserve(aisha)
    with pytest.raises(OverLimit):
        await daily.reserve(aisha)


async def test_an_address_that_is_taken_there_is_left_out(database: OwnDatabase) -> None:
    users = users_of(database)
    new = await users.sign_in(Identity("apple", "a-9", "one@example.com"))
    assert (new.id > 3, new.email) == (True, None)
    assert (await users.sign_in(Identity("google", "g-3", "one@example.com"))).email == "three@example.com"


async def test_an_identity_with_two_accounts_gets_the_one_used_last(empty_database_url: str) -> None:
    twice = (
        "INSERT INTO users (auth_provider, google_id, created_at, last_used) VALUES"
        " ('google', 'g-1', '2025-02-01', '2025-11-20'), ('google', 'g-1', '2025-02-02', NULL);"
    )
    database = await taken_over(empty_database_url, "", twice)
    users = users_of(database)
    assert (await users.sign_in(Identity("google", "g-1", None))).id == 4
    assert (await users.sign_in(Identity("google", "g-1", None))).id == 4
    assert len(await database.rows("SELECT 1 FROM users")) == 5
    await database.close()
