"""The log as JSON: pages of conversations, and one conversation whole."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from gateway.core.jsontext import loads
from gateway.core.turn import TurnStatus
from gateway.store.base import ConversationFilter, Page, Viewer
from gateway.store.filters import Condition, Statement, cursor_of, plain_conditions
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES
from gateway.store.reads import calls_of
from gateway.store.rows import Row, in_turn_order
from gateway.store.searching import Found, Match, is_search, search

_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")


async def conversations(connection: Connection, viewer: Viewer, wanted: ConversationFilter, timeout_s: float) -> Page:
    """One page; see `Store.conversations`."""
    if viewer.caller is None and not viewer.everything:
        return Page([], None)
    if wanted.status is not None and wanted.status not in get_args(TurnStatus):
        raise ValueError("no status of a turn")
    found = await (search(connection, viewer, wanted, timeout_s) if is_search(wanted) else _listing(connection, viewer, wanted))
    rows = found.rows[: wanted.limit]
    more = len(found.rows) > wanted.limit
    return Page(
        [_listed(row, found.matches.get(row["id"])) for row in rows], cursor_of(rows[-1]) if more else None, found.incomplete
    )


async def conversation(connection: Connection, conversation_id: str, viewer: Viewer) -> dict[str, Any] | None:
    """One conversation with its messages; see `Store.conversation`."""
    head = await connection.fetchrow(QUERIES["conversation"], conversation_id, viewer.everything, viewer.caller)
    if head is None:
        return None
    whole = viewer.everything or head["owner"] is not None
    rows = await connection.fetch(QUERIES["conversation_messages"], conversation_id, whole, viewer.caller)
    calls = await calls_of(connection, [row["id"] for row in rows if row["role"] == "assistant"])
    return conversation_json(head, rows, calls) | {"active_turns": []}


def conversation_json(head: Row, rows: Sequence[Row], calls: Mapping[int, Sequence[Row]]) -> dict[str, Any]:
    """What is stored of a conversation, of rows of `conversations`, `messages` and `tool_calls` (by message)."""
    return {
        "id": head["id"],
        "provider": head["provider"],
        "created_at": iso(head["created_at"]),
        "updated_at": iso(head["updated_at"]),
        "user_id": head["owner"],
        "messages": [_message(row, calls.get(row["id"], ())) for row in in_turn_order(rows)],
    }


def iso(moment: datetime | None) -> str | None:
    """A UTC time without zone as ISO 8601 with Z, in milliseconds."""
    return None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"


async def _listing(connection: Connection, viewer: Viewer, wanted: ConversationFilter) -> Found:
    statement = Statement(viewer, wanted.limit + 1)
    conditions: list[Condition] = plain_conditions(wanted)
    texts = [statement.all_of(conditions)]
    if wanted.status:
        name = "conversations.status" if viewer.everything else "conversations.status_of_caller"
        texts.append(QUERIES[name].format(status=wanted.status))
    text = QUERIES["conversations"].format(scope=statement.scope, conditions=" AND ".join(texts))
    return Found(await connection.fetch(text, *statement.arguments), {}, incomplete=False)


def _listed(row: Row, match: Match | None) -> dict[str, Any]:
    listed = {
        "id": row["id"],
        "provider": row["provider"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "message_count": row["message_count"],
        "user_id": row["owner"],
    }
    if match is not None:
        listed |= {"message_id": match.message_id, "snippet": match.snippet}
    return listed


def _message(row: Row, calls: Iterable[Row]) -> dict[str, Any]:
    message = {
        "id": str(row["id"]),
        "role": row["role"],
        "content": row["content"],
        "timestamp": iso(row["timestamp"]),
        "turn_id": None if row["turn_id"] is None else str(row["turn_id"]),
        "status": row["status"],
        "provider": row["provider"],
        "model": row["model"],
        "finish_reason": row["finish_reason"],
        "tool_calls": [_call(call) for call in calls],
        "thoughts": _loaded(row["thoughts"]) or [],
        "sources": _loaded(row["sources"]) or [],
        "usage": {name: row[name] for name in _USAGE} if row["role"] == "assistant" else None,
        "error": _error(_loaded(row["error"])),
    }
    return message | {"cached": True} if row["cached"] else message


def _call(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]) if row["call_id"] is None else row["call_id"],
        "tool_name": row["tool_name"],
        "arguments": row["arguments"],
        "result": row["result"],
    }


def _error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the client saw of it; a provider's own words stay in the database."""
    return error and {name: error.get(name) for name in ("code", "detail", "retryable")}


def _loaded(text: str | None) -> Any:
    return None if text is None else loads(text)
