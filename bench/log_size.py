"""What a turn in the log costs: bytes by table and index, WAL, PostgreSQL's CPU: `python -m bench.log_size`, a minute or two."""

import argparse
import asyncio
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from bench.log_rows import rows
from gateway.core.events import UsageReported
from gateway.core.turn import TurnRecord
from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.indexing import take_in
from gateway.store.pool import transaction
from gateway.store.postgres import PostgresStore
from tests.store.samples import turn

TURNS_OF_A_CONVERSATION: Final = 5
PORTION: Final = 500
SIZES: Final = """
SELECT relname AS name, CASE WHEN relkind = 'i' THEN pg_relation_size(oid) ELSE pg_table_size(oid) END AS bytes
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') ORDER BY bytes DESC
"""


def records(turns: int) -> list[TurnRecord]:
    """Turns of users of an app, in the order in which they would be stored: no two of a conversation next to each other."""
    texts = [message[3] for part in rows(turns * 2) for message in part.messages]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    conversations = turns // TURNS_OF_A_CONVERSATION
    number = count()
    return [
        turn(
            f"0199f2aa-{conversation:012x}",
            question,
            reply,
            caller=f"user:{conversation % 5_000}",
            charged_on="2026-11-23",
            streamed=True,
            idempotency_key=f"0199f2ab-{next(number):012x}",
            usage=UsageReported(900, 180, 0, 0, 0),
            cost_usd=0.000371,
        )
        for (question, reply), conversation in zip(pairs, (n % conversations for n in range(turns)), strict=True)
    ]


def cpu_s(postmaster: psutil.Process) -> float:
    """All of PostgreSQL, processes that have ended included."""
    own = postmaster.cpu_times()
    alive = [child.cpu_times() for child in postmaster.children()]
    return float(own.user + own.system + own.children_user + own.children_system + sum(each.user + each.system for each in alive))


def shown(name: str, value: float, unit: str) -> None:
    """Print a row."""
    print(f"{name:36}{value:10.2f} {unit}", flush=True)


async def measure(url: str, postmaster: psutil.Process, turns: int, at_once: int) -> None:
    """Store, take in, look."""
    store = PostgresStore(parse_dsn(url), command_timeout_s=60)
    await store.prepare()
    made = records(turns)
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    before = {row["name"]: row["bytes"] for row in await connection.fetch(SIZES)}
    lsn, busy = await connection.fetchval("SELECT pg_current_wal_lsn()::text"), cpu_s(postmaster)
    for first in range(0, turns, at_once):
        await store.put(made[first : first + at_once])
    shown("PostgreSQL's CPU, storing", 1000 * (cpu_s(postmaster) - busy) / turns, "ms a turn")
    written = "SELECT pg_current_wal_lsn() - $1::text::pg_lsn"
    shown("WAL, storing", float(await connection.fetchval(written, lsn)) / turns, "bytes a turn")
    lsn, busy = await connection.fetchval("SELECT pg_current_wal_lsn()::text"), cpu_s(postmaster)
    while await taken_in(connection):
        pass
    shown("PostgreSQL's CPU, taking in", 1000 * (cpu_s(postmaster) - busy) / turns, "ms a turn")
    shown("WAL, taking in", float(await connection.fetchval(written, lsn)) / turns, "bytes a turn")
    await connection.execute("VACUUM ANALYZE")
    text = await connection.fetchval("SELECT sum(octet_length(content)) FROM messages")
    shown("the texts themselves, UTF-8", text / turns, "bytes a turn")
    after = await connection.fetch(SIZES)
    for row in after:
        if (grown := (row["bytes"] - before.get(row["name"], 0)) / turns) >= 1:
            shown(f"  {row['name']}", grown, "bytes a turn")
    shown("all of it", sum(row["bytes"] - before.get(row["name"], 0) for row in after) / turns, "bytes a turn")
    await connection.close()
    await store.close()


async def taken_in(connection: Any) -> bool:
    """Take in one portion; whether there is more."""
    async with transaction(connection):
        return await take_in(connection, PORTION, wait=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=20, help="turns that share a statement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gw-log-size-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home))
        try:
            url = server.start()
            pid = int(Path(home, "postgres", "postmaster.pid").read_text(encoding="utf-8").split()[0])
            asyncio.run(measure(url, psutil.Process(pid), options.turns, options.at_once))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
