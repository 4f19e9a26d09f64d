"""Turns as `put` takes them, and the row of a turn as the turn it was."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from functools import cache
from typing import Any

from gateway.core.events import UsageReported
from gateway.core.fold import parse_arguments
from gateway.core.jsontext import dumps_text, loads
from gateway.core.messages import ToolCall, ToolResult
from gateway.core.turn import Attempt, Reply, TurnBegun, TurnEnded, TurnError, TurnRecord
from gateway.store.queries import QUERIES
from gateway.store.record_json import decode_sources, decode_thoughts, encode, encode_records

Row = Mapping[str, Any]


def put_arguments(records: Sequence[TurnRecord]) -> tuple[bytes, str, list[str]]:
    """The arguments of the statement `put`. One JSON document costs less than forty arrays (half the time for one turn); as bytes
    it need not become a text on its way (3 % of a turn's CPU)."""
    results = [
        {"turn_id": record.begun.turn_id, "call_id": result.call_id, "result": result_text(result.content)}
        for record in records
        for result in record.begun.tool_results
    ]
    keys = [record.begun.turn_id for record in records if record.begun.idempotency_key is not None and record.binds_key]
    return encode_records(records), encode(results).decode(), keys


@cache
def put_statement(*, counting: bool, spending: bool) -> str:
    """The statement `put` with those of its further parts that are needed."""
    parts = [QUERIES[name] for name, wanted in (("put.counting", counting), ("put.spending", spending)) if wanted]
    return QUERIES["put"].replace("claims AS (", "\n".join([*parts, "claims AS ("]), 1)


def owed_counts(records: Sequence[TurnRecord]) -> str | None:
    """The argument of `put.counting`; None where no count changes."""
    owed = [
        {"turn_id": record.begun.turn_id, "caller": record.begun.caller, "day": record.begun.charged_on, "owed": record.owed}
        for record in records
        if record.begun.charged_on is not None and record.owed
    ]
    return encode(owed).decode() if owed else None


def result_text(content: str) -> str:
    """A tool's result as `tool_calls.result` holds it: JSON text as it came, anything else as a JSON string."""
    try:
        loads(content)
    except ValueError:
        return dumps_text(content)
    return content


def result_content(stored: str) -> str:
    """What a tool said: the string in a JSON string, any other text as it stands."""
    if not stored.startswith('"'):
        return stored
    try:
        value = loads(stored)
    except ValueError:
        return stored
    return value if isinstance(value, str) else stored


def call_of(row: Row) -> ToolCall:
    """A row of `tool_calls`; one of the older server has no id for clients, so the row's own serves."""
    arguments, unread = parse_arguments(row["arguments"] or "")
    call_id = row["call_id"] if row["call_id"] is not None else str(row["id"])
    written = row["arguments_text"] if row["arguments_text"] is not None else unread
    return ToolCall(call_id, row["tool_name"] or "", arguments, written)


def record_of(row: Row, calls: Iterable[Row]) -> TurnRecord:
    """The turn that an assistant row (see the statement `turn`) and its calls hold."""
    return TurnRecord(_begun(row), _ended(row, _reply(row, tuple(call_of(call) for call in calls))))


def _begun(row: Row) -> TurnBegun:
    return TurnBegun(
        turn_id=str(row["turn_id"]),
        conversation_id=row["conversation_id"],
        caller=row["caller"],
        provider=row["asked_provider"],
        model=row["asked_model"],
        question=None if row["follow_up"] else row["question"],
        question_parts=row["parts"],
        tool_results=tuple(ToolResult(**result) for result in _loaded(row["tool_results"], [])),
        started_ms=row["started_ms"],
        request_hash=row["request_hash"],
        request_id=row["request_id"],
        idempotency_key=row["idempotency_key"],
        streamed=row["streamed"],
        simulated=row["simulated"],
    )


def _ended(row: Row, reply: Reply) -> TurnEnded:
    error = _loaded(row["error"], None)
    return TurnEnded(
        status=row["status"],
        provider=row["provider"],
        model=row["model"],
        reply=reply,
        ended_ms=row["ended_ms"],
        first_output_ms=row["first_output_ms"],
        cost_usd=row["cost_usd"],
        error=None if error is None else TurnError(**error),
        attempts=tuple(Attempt(**attempt) for attempt in _loaded(row["attempts"], [])),
        abandoned=row["abandoned"],
        cached=bool(row["cached"]),
        question_hash=row["question_hash"],
    )


def _reply(row: Row, calls: tuple[ToolCall, ...]) -> Reply:
    return Reply(
        content=row["content"],
        tool_calls=calls,
        thoughts=decode_thoughts(_loaded(row["thoughts"], [])),
        sources=decode_sources(_loaded(row["sources"], [])),
        usage=UsageReported(
            row["input_tokens"],
            row["output_tokens"],
            row["cached_tokens"],
            row["reasoning_tokens"],
            row["cache_write_tokens"],
        ),
        finish_reason=row["finish_reason"],
        layout=row["layout"],
        state=_loaded(row["state"], None),
    )


def _loaded(text: str | None, absent: Any) -> Any:
    return absent if text is None else loads(text)


def in_turn_order(rows: Iterable[Row]) -> list[Row]:
    """Rows of `messages` by the moment their turn began, each turn's question before its reply, so that turns that ran at
    the same time do not mix."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[float, str, bool, int]:
    began = row["started_ms"]
    if began is None:
        stamp = row["timestamp"]
        began = 0.0 if stamp is None else stamp.replace(tzinfo=UTC).timestamp() * 1000
    return began, "" if row["turn_id"] is None else str(row["turn_id"]), row["role"] != "user", row["id"]
