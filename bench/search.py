"""How long searching takes in a big log, and what taking it in costs: `python -m bench.search`, some fifteen minutes."""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.load import quantile
from bench.log_rows import CALL_COLUMNS, CONVERSATION_COLUMNS, MESSAGE_COLUMNS, PHRASE, RARE, ROOTS, rows
from gateway.store.base import ConversationFilter, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.exporting import LogExport
from gateway.store.indexing import SearchIndex, take_in
from gateway.store.pool import transaction
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

ADMIN: Final = Viewer(None, everything=True)
PORTION: Final = 500
PUTS: Final = 1_000
PLAN: Final = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN ('messages', 'message_search')"


def mix(chance: random.Random) -> dict[str, dict[str, Any]]:
    """One of each kind of search."""
    user = f"user:{chance.randint(1, 5_000)}"
    return {
        "rare word": {"q": chance.choice(RARE)},
        "common word": {"q": chance.choice(("كتاب", "في", "اللغة", "المعجم"))},
        "word in between": {"q": "م" + "ا".join((chance.choice(ROOTS.split())[:2], "ر"))},
        "two common words": {"q": "لسان العرب"},
        "phrase": {"q": f'"{PHRASE}"'},
        "phrase of common words": {"q": '"لسان العرب"'},
        "common word, owner": {"q": "كتاب", "user": user},
        "common word, failed, groq": {"q": "كتاب", "status": "failed", "provider": "groq"},
        "common word, rare tool": {"q": "كتاب", "tool": "get_entry"},
        "rare word, a week": {"q": RARE[0], "since": datetime.now(UTC) - timedelta(days=7)},
        "no hit": {"q": "قشعريرة"},
        "tool": {"tool": "get_entry"},
        "cost, often": {"min_cost": 0.01},
        "cost, hardly ever": {"min_cost": 0.2},
    }


async def fill(url: str, messages: int) -> None:
    """Make the log."""
    connection = await asyncpg.connect(url)
    for portion in rows(messages):
        await connection.copy_records_to_table("conversations", records=portion.conversations, columns=CONVERSATION_COLUMNS)
        await connection.copy_records_to_table("messages", records=portion.messages, columns=MESSAGE_COLUMNS)
        await connection.copy_records_to_table("tool_calls", records=portion.calls, columns=CALL_COLUMNS)
    await connection.execute("SELECT setval(pg_get_serial_sequence('messages', 'id'), (SELECT max(id) FROM messages))")
    await connection.execute("UPDATE search_progress SET (unread, settled) = (SELECT max(id), max(id) FROM messages)")
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def portion(connection: Any) -> bool:
    """Take in one portion."""
    async with transaction(connection):
        return await take_in(connection, PORTION, wait=True)


async def puts(store: PostgresStore) -> list[float]:
    """Seconds of single turns written one after another."""
    taken = []
    for number in range(PUTS):
        record = turn(f"put-{number % 50}", "ما معنى «سَلْسَبيل»؟", "الماءُ العذبُ السهلُ المرور في الحلق. " * 20)
        began = time.perf_counter()
        await store.put([record])
        taken.append(time.perf_counter() - began)
    return taken


async def while_taking_in(store: PostgresStore, work: Callable[[], Awaitable[list[float]]]) -> list[float]:
    """Do work while messages are taken in as a running server does it."""
    index = SearchIndex(store.run)
    index.start()
    await asyncio.sleep(6)
    try:
        return await work()
    finally:
        await index.close()


def shown(name: str, seconds: list[float]) -> None:
    """Print a row."""
    p50, p95 = (1000 * quantile(seconds, share) for share in (0.5, 0.95))
    print(f"{name:28}{p50:9.1f}{p95:9.1f} ms", flush=True)


async def measure(url: str, messages: int, times: int) -> None:
    """Fill, take in, search, export."""
    store = PostgresStore(parse_dsn(url), command_timeout_s=60)
    await store.prepare()
    await fill(url, messages)
    before = await puts(store)
    shown("writing a turn, alone", before)
    during = await while_taking_in(store, lambda: puts(store))
    shown("writing a turn, taking in", during)
    print(f"{100 * (statistics.median(during) / statistics.median(before) - 1):+.1f} %")
    began = time.perf_counter()
    while await store.run(portion):
        pass
    print(f"taking in the rest: {time.perf_counter() - began:.0f} s")
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE message_search")
    scans = await connection.fetch(PLAN)
    chance, every = random.Random(3), list[float]()
    for name in mix(chance):
        taken = []
        for _ in range(times):
            asked = time.perf_counter()
            await store.conversations(ADMIN, ConversationFilter(**mix(chance)[name]))
            taken.append(time.perf_counter() - asked)
        shown(name, taken)
        every += taken
    shown("all of them", every)
    await asyncio.sleep(2)
    print(
        "sequential scans before and after:", [tuple(row) for row in scans], [tuple(row) for row in await connection.fetch(PLAN)]
    )
    await connection.close()
    began, lines = time.perf_counter(), 0
    async for some in LogExport(store).conversations(ADMIN, ConversationFilter()):
        lines += len(some)
    print(f"exporting {lines} conversations: {time.perf_counter() - began:.0f} s")
    await store.close()


def main() -> None:
    """Measure on a PostgreSQL of its own, or on the empty database that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20, help="searches of each kind")
    parser.add_argument("--database", default="", help="an empty database instead of one of its own")
    flags = parser.parse_args()
    if flags.database:
        asyncio.run(measure(flags.database, flags.messages, flags.times))
        return
    with tempfile.TemporaryDirectory(prefix="gw-search-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home))
        try:
            asyncio.run(measure(server.start(), flags.messages, flags.times))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
