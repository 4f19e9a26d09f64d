"""Tool rounds: follow-ups cost no question, so that there are only so many to one question."""

from collections import Counter, OrderedDict
from typing import Final

from gateway.access.sql import SQL, Database
from gateway.core.errors import GatewayError
from gateway.store.base import StoreUnavailable

_REMEMBERED: Final = 20_000

_Key = tuple[str, str | None]


class ToolRounds:
    """Counts follow-ups to a conversation's newest question: those in the log, and those that run here.

    While the database is away, those that began here since the newest question seen here.
    """

    def __init__(self, database: Database, max_rounds: int) -> None:
        self._database = database
        self._max_rounds = max_rounds
        self._running: Counter[_Key] = Counter()
        self._seen: OrderedDict[_Key, int] = OrderedDict()

    def question(self, conversation_id: str, caller_id: str | None) -> None:
        """A question begins."""
        self._seen.pop((conversation_id, caller_id), None)

    async def follow_up(self, conversation_id: str, caller_id: str | None) -> None:
        """A follow-up begins; `ended` is to follow. Raises `GatewayError` `invalid_request` over the bound."""
        key = conversation_id, caller_id
        self._running[key] += 1
        try:
            self._check(await self._stored(key) + self._running[key])
        except BaseException:
            self._leave(key)
            raise
        self._remember(key, self._seen.get(key, 0) + 1)

    def ended(self, conversation_id: str, caller_id: str | None, *, cost_nothing: bool) -> None:
        """A follow-up has ended, and is in the log if it is to be."""
        key = conversation_id, caller_id
        self._leave(key)
        if cost_nothing and self._seen.get(key):
            self._seen[key] -= 1

    def _check(self, rounds: int) -> None:
        if rounds > self._max_rounds:
            raise GatewayError(
                "invalid_request",
                f"This question has had its {self._max_rounds} rounds of tool calls; ask a new one.",
                fields=(("messages", "too many tool rounds since the last question"),),
            )

    async def _stored(self, key: _Key) -> int:
        try:
            rounds: int = await self._database.run(lambda connection: connection.fetchval(SQL["rounds"], *key))
        except StoreUnavailable:
            return self._seen.get(key, 0) - (self._running[key] - 1)
        return rounds

    def _remember(self, key: _Key, rounds: int) -> None:
        self._seen[key] = rounds
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _leave(self, key: _Key) -> None:
        self._running[key] -= 1
        if self._running[key] <= 0:
            del self._running[key]
