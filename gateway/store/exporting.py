"""The log whole, in portions, so that no connection is held while a client takes its time."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final

from gateway.store.base import ConversationFilter, StoreUnavailable, Viewer
from gateway.store.filters import Statement
from gateway.store.indexing import take_in
from gateway.store.listing import conversation_json
from gateway.store.pool import Connection, transaction
from gateway.store.postgres import PostgresStore
from gateway.store.queries import QUERIES
from gateway.store.reads import calls_of
from gateway.store.rows import Row
from gateway.store.searching import Search, is_search, prepared

_LOOKED_AT: Final = 400
_AT_ONCE: Final = 25
_TAKEN_IN: Final = 500


class LogExport:
    """`Exports` in PostgreSQL.

    In the order of ids, which never change: a conversation that is there from the first to the last moment comes exactly once,
    whatever is said in it meanwhile. One transaction over all of it would be a snapshot, and keep PostgreSQL from cleaning up
    for as long as the slowest client takes.
    """

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def conversations(self, viewer: Viewer, wanted: ConversationFilter) -> AsyncGenerator[list[dict[str, Any]], None]:
        """See `Exports.conversations`."""
        if is_search(wanted):
            await self._take_in()
        asked = await self._store.run(lambda connection: prepared(connection, viewer, wanted))
        if asked is None:
            return
        last: str | None = None
        more = True
        while more:
            rows = await self._store.run(partial(_portion, asked=asked, last=last))
            heads = [row for row in rows if row["wanted"]]
            for start in range(0, len(heads), _AT_ONCE):
                yield await self._store.run(partial(_whole, viewer=viewer, heads=heads[start : start + _AT_ONCE]))
            more = len(rows) == _LOOKED_AT
            last = rows[-1]["id"] if more else None

    async def _take_in(self) -> None:
        """Make sure that everything can be found. Raises `StoreUnavailable` while an older log is still being taken in."""
        while await self._store.run(_take_in):
            if await self._store.run(lambda connection: connection.fetchval(QUERIES["search.behind"])):
                raise StoreUnavailable("older messages are still being taken into the search")


async def _take_in(connection: Connection) -> bool:
    async with transaction(connection):
        return await take_in(connection, _TAKEN_IN, wait=True)


async def _portion(connection: Connection, asked: Search, last: str | None) -> Sequence[Row]:
    statement = Statement(asked.viewer, _LOOKED_AT)
    after = [] if last is None else [("export.after", last)]
    text = QUERIES["export.portion"].format(
        scope=statement.scope, conditions=statement.all_of([*after, *asked.plain]), tests=statement.all_of(asked.tests)
    )
    rows: Sequence[Row] = await connection.fetch(text, *statement.arguments)
    return rows


async def _whole(connection: Connection, viewer: Viewer, heads: Sequence[Row]) -> list[dict[str, Any]]:
    """These conversations with their messages."""
    ids = [head["id"] for head in heads]
    messages: defaultdict[str, list[Row]] = defaultdict(list)
    for row in await connection.fetch(QUERIES["export.messages"], ids, viewer.everything, viewer.caller):
        messages[row["conversation_id"]].append(row)
    replies = [row["id"] for rows in messages.values() for row in rows if row["role"] == "assistant"]
    calls = await calls_of(connection, replies)
    # One that was deleted in between has no messages any more.
    return [conversation_json(head, messages[head["id"]], calls) for head in heads if head["id"] in messages]
