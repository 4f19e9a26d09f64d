"""The log as JSON: pages of conversations, and one conversation whole."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, get_args

from gateway.core.jsontext import dumps, loads
from gateway.core.turn import TurnStatus
from gateway.store.base import ConversationFilter, Page, Viewer
from gateway.store.pool import Connection, transaction
from gateway.store.queries import QUERIES
from gateway.store.reads import calls_of
from gateway.store.rows import Row, in_turn_order

SEARCHED_MESSAGES = 100_000
_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")


async def conversations(connection: Connection, viewer: Viewer, wanted: ConversationFilter, timeout_s: float) -> Page:
    """One page; see `Store.conversations`."""
    if viewer.caller is None and not viewer.everything:
        return Page([], None)
    statement, arguments = _page_statement(viewer, wanted)
    if wanted.q:
        # A search that its asker no longer waits for must not go on in the server.
        async with transaction(connection):
            await connection.execute(f"SET LOCAL statement_timeout = {int(timeout_s * 1000)}")
            rows = await connection.fetch(statement, *arguments)
    else:
        rows = await connection.fetch(statement, *arguments)
    more = len(rows) > wanted.limit
    rows = rows[: wanted.limit]
    return Page([_listed(row) for row in rows], _cursor(rows[-1]) if more else None)


async def conversation(connection: Connection, conversation_id: str, viewer: Viewer) -> dict[str, Any] | None:
    """One conversation with its messages; see `Store.conversation`."""
    head = await connection.fetchrow(QUERIES["conversation"], conversation_id, viewer.everything, viewer.caller)
    if head is None:
        return None
    whole = viewer.everything or head["owner"] is not None
    rows = await connection.fetch(QUERIES["conversation_messages"], conversation_id, whole, viewer.caller)
    calls = await calls_of(connection, [row["id"] for row in rows if row["role"] == "assistant"])
    return {
        "id": head["id"],
        "provider": head["provider"],
        "created_at": iso(head["created_at"]),
        "updated_at": iso(head["updated_at"]),
        "user_id": head["owner"],
        "messages": [_message(row, calls.get(row["id"], ())) for row in in_turn_order(rows)],
        "active_turns": [],
    }


def iso(moment: datetime | None) -> str | None:
    """A UTC time without zone as ISO 8601 with Z, in milliseconds."""
    return None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"


def _page_statement(viewer: Viewer, wanted: ConversationFilter) -> tuple[str, list[Any]]:
    if wanted.status is not None and wanted.status not in get_args(TurnStatus):
        raise ValueError("no status of a turn")
    arguments: list[Any] = [wanted.limit + 1, viewer.everything, viewer.caller]
    conditions: list[str] = []

    def add(fragment: str, *values: Any) -> None:
        places = [f"${len(arguments) + number}" for number in range(1, len(values) + 1)]
        arguments.extend(values)
        text = QUERIES[f"conversations.{fragment}"]
        conditions.append(text.format(*places, status=wanted.status, limit=SEARCHED_MESSAGES))

    if wanted.cursor:
        add("after", *_parse_cursor(wanted.cursor))
    if wanted.provider:
        add("provider", wanted.provider)
    if wanted.user:
        add("user", wanted.user)
    if wanted.since:
        add("since", _without_zone(wanted.since))
    if wanted.until:
        add("until", _without_zone(wanted.until))
    if wanted.status:
        add("status" if viewer.everything else "status_of_caller")
    if wanted.q:
        add("text" if viewer.everything else "text_of_caller", _pattern(wanted.q))
    scope = "conversations" if viewer.everything else QUERIES["conversations.of_caller"]
    return QUERIES["conversations"].format(scope=scope, conditions=" AND ".join(conditions) or "true"), arguments


def _pattern(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _without_zone(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _cursor(row: Row) -> str:
    return base64.urlsafe_b64encode(dumps([row["updated_at"].isoformat(), row["id"]])).decode()


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        moment, conversation_id = loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        updated_at = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        raise ValueError("not a cursor of this log") from None
    if updated_at.tzinfo is not None or not isinstance(conversation_id, str):
        raise ValueError("not a cursor of this log")
    return updated_at, conversation_id


def _listed(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "provider": row["provider"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "message_count": row["message_count"],
        "user_id": row["owner"],
    }


def _message(row: Row, calls: Iterable[Row]) -> dict[str, Any]:
    return {
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
