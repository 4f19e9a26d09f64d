"""Finding a conversation by what was said in it."""

from collections.abc import Sequence

from gateway.store.base import EarlierReply
from gateway.store.pool import Connection
from gateway.store.postgres import PostgresStore
from gateway.store.queries import QUERIES


class PostgresThreads:
    """`Threads` in PostgreSQL."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def find(self, caller: str | None, replies: Sequence[EarlierReply]) -> str | None:
        """See `Threads.find`."""
        return await self._store.run(lambda connection: _find(connection, caller, replies))


async def _find(connection: Connection, caller: str | None, replies: Sequence[EarlierReply]) -> str | None:
    for reply in replies:
        found: str | None = None
        if reply.call_ids:
            found = await connection.fetchval(QUERIES["thread_of_calls"], caller, list(reply.call_ids))
        elif reply.text:
            found = await connection.fetchval(QUERIES["thread_of_reply"], caller, reply.text, reply.question)
        if found is not None:
            return found
    return None
