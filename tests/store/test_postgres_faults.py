"""The database goes away, hangs, refuses, comes back: callers are told at once, and the store finds its way back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from gateway.store import pool as pool_module
from gateway.store.base import ConversationFilter, StoreUnavailable, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.pool import Pool
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN = Viewer(None, everything=True)
PATIENCE_S = 30.0  # far above every bound under test: reaching it means that something hangs


@asynccontextmanager
async def opened(url: str, timeout_s: float = 5.0) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(parse_dsn(url), pool_size=2, command_timeout_s=timeout_s)
    try:
        yield store
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await store.close()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def back(store: PostgresStore) -> None:
    """Return when the store serves again: its patience may be shorter than a busy machine takes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                [receipt] = await store.put([turn()])
                assert receipt.message_id is not None
                return
            except StoreUnavailable:
                await asyncio.sleep(0.02)


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Stop the server and all of its processes, as a stalled disk or a paused container would."""
    folder = Path(str(parse_dsn(url).arguments["host"][0]))
    postmaster = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


CALLS: dict[str, Callable[[PostgresStore], Awaitable[object]]] = {
    "put": lambda store: store.put([turn()]),
    "access": lambda store: store.access("conv-1", None),
    "history": lambda store: store.history("conv-1", ADMIN, 10),
    "turn": lambda store: store.turn("01990000-0000-7000-8000-000000000000"),
    "search": lambda store: store.conversations(ADMIN, ConversationFilter(q="كتاب")),
    "delete": lambda store: store.delete_conversation("conv-1", ADMIN),
    "claimed": lambda store: store.claimed(None, "key"),
    "ping": lambda store: store.ping(),
}


@pytest.mark.parametrize(
    "url", ["postgresql://postgres@/x?host=/nonexistent", "postgresql://u:p@127.0.0.1:1/x", "postgresql://u@no.invalid/x"]
)
async def test_without_a_database_a_store_can_be_made_and_says_so(url: str) -> None:
    async with opened(url) as store, asyncio.timeout(PATIENCE_S):
        for call in CALLS.values():
            with pytest.raises(StoreUnavailable):
                await call(store)
        with pytest.raises(StoreUnavailable):
            await store.prepare()


async def test_a_frozen_server_is_told_in_time_by_every_call(database_url: str) -> None:
    async with opened(database_url, 0.2) as store, opened(database_url, 0.2) as unconnected:
        await back(store)
        async with asyncio.timeout(PATIENCE_S):
            with frozen(database_url):
                for call in CALLS.values():
                    with pytest.raises(StoreUnavailable):
                        await call(store)
                answers = await asyncio.gather(*(unconnected.put([turn()]) for _ in range(10)), return_exceptions=True)
                assert {type(answer) for answer in answers} == {StoreUnavailable}
        await back(store)
        await back(unconnected)


async def test_closing_while_the_server_is_frozen_ends(database_url: str) -> None:
    store = PostgresStore(parse_dsn(database_url), command_timeout_s=0.2)
    await back(store)
    with frozen(database_url):
        async with asyncio.timeout(PATIENCE_S):
            await store.close()
        with pytest.raises(StoreUnavailable):
            await store.ping()


async def test_connections_cut_by_the_server_are_replaced_unnoticed(database_url: str) -> None:
    async with opened(database_url) as store:
        # Its farewell may come before, while or after the next statement is sent.
        for number in range(20):
            await asyncio.gather(store.ping(), store.ping())
            await execute(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()",
            )
            assert (await store.put([turn(f"conv-{number}")]))[0].message_id is not None


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false",
        "ALTER DATABASE {name} SET statement_timeout = '1ms'",
        "ALTER DATABASE {name} RENAME TO {name}_gone",
    ],
)
async def test_a_database_that_cannot_serve_is_unavailable_not_refusing(
    postgres_url: str, database_url: str, statement: str
) -> None:
    name = str(parse_dsn(database_url).arguments["database"])
    undo = {
        "SET default": f"ALTER DATABASE {name} RESET ALL",
        "ALLOW": f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true",
        "SET statement": f"ALTER DATABASE {name} RESET ALL",
        "RENAME": f"ALTER DATABASE {name}_gone RENAME TO {name}",
    }
    async with opened(database_url) as store:
        await execute(postgres_url, statement.format(name=name))
        try:
            with pytest.raises(StoreUnavailable):
                await store.put([turn(content="ط" * 500_000)])
        finally:
            await execute(postgres_url, next(text for mark, text in undo.items() if mark in statement))
        assert (await store.put([turn()]))[0].message_id is not None


async def test_too_many_connections_is_unavailable(postgres_url: str, database_url: str) -> None:
    await execute(postgres_url, "DROP ROLE IF EXISTS crowded", "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    async with opened(database_url.replace("postgres@", "crowded@")) as store:
        with pytest.raises(StoreUnavailable):
            await store.ping()


async def test_a_server_that_turns_people_away_is_left_in_peace_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RESPITE_S", 600)
    tried = 0

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        fields = b"SFATAL\0VFATAL\0C53300\0Mtoo many clients\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        writer.close()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        full = Pool(parse_dsn(f"postgresql://u@127.0.0.1:{port}/x?sslmode=disable"), 2, PATIENCE_S)
        calls = [full.run(lambda connection: connection.fetchval("SELECT 1")) for _ in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        await full.close()
    assert {type(result) for result in results} == {StoreUnavailable}
    assert 1 <= tried <= 2, "those who were on their way together"


async def test_a_lock_that_somebody_holds_is_waited_for_in_vain_but_not_long(database_url: str) -> None:
    async with opened(database_url, 1.0) as store:
        await store.put([turn()])
        late = turn()
        holder = await asyncpg.connect(database_url)
        await holder.execute("BEGIN")
        await holder.execute("SELECT 1 FROM conversations FOR UPDATE")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(StoreUnavailable):
                await store.put([late])
            assert (await store.put([turn("conv-2")]))[0].message_id is not None
        await holder.close()
        first = await store.put([late])
        assert await store.put([late]) == first


async def test_a_schema_that_vanished_is_made_again(database_url: str) -> None:
    async with opened(database_url) as store:
        await store.put([turn()])
        await execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        with pytest.raises(StoreUnavailable):
            await store.put([turn()])
        assert (await store.put([turn()]))[0].message_id is not None


async def test_a_caller_who_hangs_up_leaves_no_broken_connection(database_url: str) -> None:
    async with opened(database_url) as store:
        for _ in range(5):
            calls = [asyncio.ensure_future(store.put([turn(f"conv-{number}")])) for number in range(4)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert (await store.put([turn()]))[0].message_id is not None
