"""What `/conversations` was asked for, as conditions of SQL."""

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway.core.jsontext import dumps, loads
from gateway.store.base import BadQuery, ConversationFilter, Viewer
from gateway.store.queries import QUERIES
from gateway.store.rows import Row

MOST_TERMS: Final = 16
_LONGEST_TOOL: Final = 200
"""What is searched of a name; see `search.take_in`."""
_TERM: Final = re.compile(r'"([^"]*)"|“([^”]*)”|«([^»]*)»|([^\s"“”«»]+)')


@dataclass(slots=True)
class Statement:
    """The arguments of a statement that is being put together. $2 and $3 are whose eyes look; $1 is the statement's own."""

    viewer: Viewer
    first: Any
    arguments: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arguments = [self.first, self.viewer.everything, self.viewer.caller]

    def condition(self, name: str, *values: Any) -> str:
        """The named fragment with its values as arguments."""
        places = [f"${len(self.arguments) + number}" for number in range(1, len(values) + 1)]
        self.arguments.extend(values)
        return QUERIES[name].format(*places)

    def all_of(self, conditions: "list[Condition]") -> str:
        """All these conditions together."""
        return " AND ".join(self.condition(*one) for one in conditions) or "true"

    @property
    def scope(self) -> str:
        """The conversations that can be seen at all."""
        return "conversations" if self.viewer.everything else QUERIES["conversations.of_caller"]


Condition = tuple[Any, ...]
"""The name of a fragment, and its values."""


def plain_conditions(wanted: ConversationFilter) -> list[Condition]:
    """What a conversation's own row tells, and an index of `conversations` serves. Raises `BadQuery` for a foreign cursor."""
    found: list[Condition] = []
    if wanted.cursor:
        found.append(("conversations.after", *_parse_cursor(wanted.cursor)))
    if wanted.provider:
        found.append(("conversations.provider", wanted.provider))
    if wanted.user:
        found.append(("conversations.user", wanted.user))
    if wanted.since:
        found.append(("conversations.since", _without_zone(wanted.since)))
    if wanted.until:
        found.append(("conversations.until", _without_zone(wanted.until)))
    return found


def tool_words(name: str) -> str:
    """The tsquery that finds calls of a tool."""
    quoted = name[:_LONGEST_TOOL].replace("\\", "\\\\").replace("'", "''")
    return f"'tool:{quoted}'"


def terms_of(q: str) -> list[str]:
    """The words and phrases (in double quotes, or Arabic ones) of a search. Raises `BadQuery` when they are too many."""
    found = ["".join(groups) for groups in _TERM.findall(q)]
    if len(found) > MOST_TERMS:
        raise BadQuery(f"A search has at most {MOST_TERMS} words and phrases.")
    return found


def cursor_of(row: Row) -> str:
    """Where the page behind this row begins."""
    return base64.urlsafe_b64encode(dumps([row["updated_at"].isoformat(), row["id"]])).decode()


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        moment, conversation_id = loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        updated_at = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        raise _not_ours() from None
    if updated_at.tzinfo is not None or not isinstance(conversation_id, str):
        raise _not_ours()
    return updated_at, conversation_id


def _not_ours() -> BadQuery:
    return BadQuery("The cursor is not one that this server gave.")


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
