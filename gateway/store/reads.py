"""What turns need of the log: the history of a conversation, its open calls, a stored turn."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.core.history import NO_RESULT
from gateway.core.ids import turn_time
from gateway.core.jsontext import is_object, loads
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    KeptState,
    Message,
    Part,
    TextPart,
    ToolResult,
    ToolResults,
    UserMessage,
)
from gateway.store.base import StoredTurn, Viewer
from gateway.store.pool import Connection
from gateway.store.queries import QUERIES
from gateway.store.rows import Row, call_of, in_turn_order, record_of, result_content

_LEAST_ROWS = 100


async def may_add(connection: Connection, conversation_id: str, caller: str | None) -> bool:
    """Whether the conversation is new, ownerless or the caller's own."""
    owner = await connection.fetchval(QUERIES["access"], conversation_id)
    return owner is None or owner == caller


async def history(connection: Connection, conversation_id: str, viewer: Viewer, limit: int) -> tuple[Message, ...]:
    """The newest messages of completed and stopped turns; see `Store.history`."""
    owner = await connection.fetchval(QUERIES["access"], conversation_id)
    own = owner is not None and owner == viewer.caller
    if owner is not None and not own and not viewer.everything:
        return ()
    everything = viewer.everything or own
    wanted = max(limit, _LEAST_ROWS)
    rows = await connection.fetch(QUERIES["history"], conversation_id, everything, viewer.caller, wanted)
    calls = await calls_of(connection, [row["id"] for row in rows if row["role"] == "assistant"])
    return _newest(_messages(in_turn_order(rows), calls), limit)


async def calls_of(connection: Connection, message_ids: Sequence[int]) -> Mapping[int, list[Row]]:
    """The tool calls of these messages, in order, by message."""
    found: defaultdict[int, list[Row]] = defaultdict(list)
    if message_ids:
        for row in await connection.fetch(QUERIES["calls_of_messages"], message_ids):
            found[row["message_id"]].append(row)
    return found


async def states(connection: Connection, conversation_id: str, call_ids: Sequence[str]) -> dict[str, KeptState]:
    """Kept states by call id; the newest where an id was issued twice."""
    rows = await connection.fetch(QUERIES["states"], conversation_id, list(call_ids))
    return {row["call_id"]: KeptState(row["provider"], row["model"], loads(row["state"])) for row in rows}


async def issued(connection: Connection, conversation_id: str, caller: str | None) -> tuple[str, ...]:
    """Ids of the calls that a tool result may answer; see `Store.issued`."""
    return tuple(row["call_id"] for row in await connection.fetch(QUERIES["issued"], conversation_id, caller))


async def turn(connection: Connection, turn_id: str) -> StoredTurn | None:
    """A stored turn with its calls."""
    if turn_time(turn_id) is None:
        return None
    row = await connection.fetchrow(QUERIES["turn"], turn_id)
    if row is None:
        return None
    calls = await calls_of(connection, [row["id"]])
    return StoredTurn(record_of(row, calls[row["id"]]), row["id"])


def _messages(rows: Sequence[Row], calls: Mapping[int, list[Row]]) -> list[Message]:
    asked = {row["turn_id"] for row in rows if row["role"] == "user"}
    found: list[Message] = []
    for row in rows:
        if row["role"] == "user":
            found.append(UserMessage(_parts(row)))
        elif row["turn_id"] is None or row["follow_up"] or row["turn_id"] in asked:
            found.extend(_reply(row, calls.get(row["id"], ())))
    return found


def _reply(row: Row, calls: Iterable[Row]) -> Iterable[Message]:
    made = [(call_of(call), call["result"]) for call in calls]
    if not made and not row["content"]:
        return
    state = KeptState(row["provider"], row["model"], loads(row["state"])) if row["state"] is not None else None
    yield AssistantMessage(row["content"] or "", tuple(call for call, _ in made), state)
    if made:
        yield ToolResults(
            tuple(
                ToolResult(call.id, call.name, NO_RESULT if result is None else result_content(result)) for call, result in made
            )
        )


def _parts(row: Row) -> tuple[Part, ...]:
    """The question's parts as the engine wrote them, else its text."""
    parts: list[Part] = []
    for part in loads(row["parts"]) if row["parts"] is not None else ():
        known = _part(part)
        if known is not None:
            parts.append(known)
    return tuple(parts) or (TextPart(row["content"] or ""),)


def _part(part: Any) -> Part | None:
    if not is_object(part):
        return None
    if part.get("type") == "text":
        return TextPart(str(part.get("text", "")))
    image = part.get("image_url")
    url = image.get("url") if is_object(image) else None
    return ImagePart(url) if isinstance(url, str) else None


def _newest(messages: list[Message], limit: int) -> tuple[Message, ...]:
    """At most `limit` from the end, starting at a question; more only where the newest question lies further back, since
    what its tool rounds brought means nothing without it."""
    questions = [index for index, message in enumerate(messages) if isinstance(message, UserMessage)]
    if not questions:
        return ()
    earliest = len(messages) - limit
    start = next((index for index in questions if index >= earliest), questions[-1])
    return tuple(messages[start:])
