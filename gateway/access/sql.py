"""The statements of `queries.sql`, and what they are sent through."""

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

_NAME = re.compile(r"^-- name: (\S+)$", re.MULTILINE)


class Database(Protocol):
    """Runs work on a connection of PostgreSQL, in bounded time."""

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do `work` with an asyncpg connection; it may be repeated. Raises `StoreUnavailable` and `StoreRefused`."""
        ...


def _statements() -> Mapping[str, str]:
    _, *parts = _NAME.split(Path(__file__).with_name("queries.sql").read_text(encoding="utf-8"))
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}


SQL: Final = _statements()
