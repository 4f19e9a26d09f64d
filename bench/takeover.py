"""Taking over the older server's database while it goes on writing: `python -m bench.takeover`, a minute.

It fails if PostgreSQL refused the older server anything, or if anything is lost.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from bench.servers import postgres
from gateway.store.base import ConversationFilter, StoreUnavailable, Viewer
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from tests.store.older_server import HABITS, TABLES, Chat, OlderServer, fill
from tests.store.samples import turn

ADMIN: Final = Viewer(None, everything=True)
AFTERWARDS_S: Final = 3.0
COUNTS: Final = (
    "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages), (SELECT count(*) FROM tool_calls),"
    " (SELECT count(*) FROM users)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="rows of messages in the older database (100000)")
    parser.add_argument("--writers", type=int, default=6, help="workers of the older server (6)")
    parser.add_argument("--seconds", type=float, default=AFTERWARDS_S, help="how long both write afterwards (3)")
    given = parser.parse_args(arguments)
    with postgres() as url:
        return asyncio.run(_run(url, given.messages, given.writers, given.seconds))


async def _run(url: str, messages: int, writers: int, seconds: float) -> int:
    watching = await asyncpg.connect(url)
    await watching.execute(TABLES)
    await fill(watching, messages)
    await watching.execute("ANALYZE")
    before = tuple(await watching.fetchrow(COUNTS))
    print("before:", dict(zip(("conversations", "messages", "tool_calls", "users"), before, strict=True)))
    older = [OlderServer(url, str(number), HABITS[number % len(HABITS)]) for number in range(writers)]
    running = [asyncio.create_task(one.run()) for one in older]
    await asyncio.gather(*(one.wrote.wait() for one in older))
    store = PostgresStore(parse_dsn(url))
    try:
        took_s, tries = await _prepare(store)
        waited_s, chats = max(one.slowest_s for one in older), sum(len(one.chats) for one in older)
        print(f"taken over in {took_s:.2f} s, {tries} tries; the older server's slowest chat took {waited_s:.2f} s")
        ours = await _write(store, seconds)
        for one in older:
            one.stopping = True
        await asyncio.gather(*running)
        done = [chat for one in older for chat in one.chats]
        print(f"the older server's chats: {chats} until then, {len(done) - chats} in the {seconds:g} s after; ours: {ours}")
        return await _check(watching, store, before, older, done, ours)
    finally:
        await store.close()
        await watching.close()


async def _prepare(store: PostgresStore) -> tuple[float, int]:
    began, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            await store.prepare()
        except StoreUnavailable as error:
            print("  not yet:", error)
            continue
        return time.monotonic() - began, tries


async def _write(store: PostgresStore, seconds: float) -> int:
    """Turns of ours, some in the older server's conversations, beside its own."""
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        await store.put([turn(f"older-0-{count % 5}" if count % 3 == 0 else f"ours-{count}")])
        count += 1
    return count


async def _check(
    watching: Any, store: PostgresStore, before: tuple[int, ...], older: Sequence[OlderServer], done: Sequence[Chat], ours: int
) -> int:
    wrong = [f"refused: {error}" for one in older for error in one.errors]
    after = tuple(await watching.fetchrow(COUNTS))
    new_messages, new_calls = sum(len(chat.messages) for chat in done), sum(len(chat.calls) for chat in done)
    if after[1] - before[1] != new_messages + 2 * ours:
        wrong.append(f"{after[1] - before[1]} new messages in the log, {new_messages} and {2 * ours} written")
    if after[2] - before[2] != new_calls:
        wrong.append(f"{after[2] - before[2]} new calls in the log, {new_calls} written")
    ids = [message_id for chat in done for message_id in chat.messages]
    found = await watching.fetchval("SELECT count(*) FROM messages WHERE id = ANY ($1::bigint[]) AND turn_id IS NULL", ids)
    if found != len(set(ids)) or len(set(ids)) != len(ids):
        wrong.append("an id was given twice, or a message is not there")
    last = done[-1].conversation_id
    shown = await store.conversation(last, ADMIN)
    if shown is None or not {str(message_id) for message_id in done[-1].messages} <= {one["id"] for one in shown["messages"]}:
        wrong.append(f"{last} does not show its newest messages")
    if not await store.history(last, ADMIN, 100):
        wrong.append(f"{last} has no history")
    await older[0].chat(watching, "conv-1")
    page = await store.conversations(ADMIN, ConversationFilter(limit=500))
    if page.conversations[0]["id"] != "conv-1":
        wrong.append("a conversation with which the older server goes on is not the newest in the list")
    if not {one.chats[-1].conversation_id for one in older} <= {one["id"] for one in page.conversations}:
        wrong.append("the older server's newest conversations are not among the newest in the list")
    print(f"wrong: {len(wrong)}")
    for text in wrong[:10]:
        print(" ", text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
