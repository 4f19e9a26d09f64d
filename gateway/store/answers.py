"""Finding the reply that a question got before."""

from gateway.core.jsontext import loads
from gateway.core.tape import Tape, restore
from gateway.store.postgres import PostgresStore
from gateway.store.queries import QUERIES
from gateway.store.record_json import decode_sources, decode_thoughts


class PostgresAnswers:
    """`AnswerStore` in PostgreSQL: what was deleted there answers nobody any more."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def answer(self, key: str, since_ms: int) -> Tape | None:
        """See `AnswerStore.answer`."""
        row = await self._store.run(lambda connection: connection.fetchrow(QUERIES["answer"], key, since_ms))
        if row is None:
            return None
        thoughts = decode_thoughts(loads(row["thoughts"] or "[]"))
        sources = decode_sources(loads(row["sources"] or "[]"))
        return restore(row["layout"], row["content"], "".join(thought.content for thought in thoughts), (), sources)
