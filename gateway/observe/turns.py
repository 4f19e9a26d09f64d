"""One log line a turn: warnings for those that failed, debug for the rest, so that the usual turn costs none."""

import logging

from gateway.core.turn import TurnRecord
from gateway.store.base import Receipt

log = logging.getLogger(__name__)


def log_line(turn: object, record: TurnRecord, receipt: Receipt) -> None:
    """Write down that a turn ended: ids, names and numbers, never what was said."""
    failed = record.ended.error is not None
    level = logging.WARNING if failed else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(level, "a turn failed" if failed else "a turn ended", extra=_facts(record, receipt))


def _facts(record: TurnRecord, receipt: Receipt) -> dict[str, object]:
    begun, ended = record.begun, record.ended
    facts: dict[str, object] = {
        "request_id": begun.request_id,
        "turn_id": begun.turn_id,
        "provider": ended.provider,
        "model": ended.model,
        "status": ended.status,
        "total_ms": ended.ended_ms - begun.started_ms,
        "logged": "spooled" if receipt.message_id is None else "stored",
    }
    if ended.error is not None:
        facts |= {"code": ended.error.code, "upstream_status": ended.error.upstream_status}
    return facts
