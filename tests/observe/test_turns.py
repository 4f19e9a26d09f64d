"""A failed turn has its line, without what was said; a good one only for those who look for it."""

import logging

import pytest

from gateway.core.turn import TurnError
from gateway.observe.turns import log_line
from gateway.store.base import Receipt
from tests.store.samples import turn

FAILED = TurnError("provider_overloaded", "The provider is busy.", True, upstream_status=529, upstream="سرّ")


def test_a_failed_turn_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    record = turn("conv-1", "سؤال عن مُعْجَم", "", status="failed", error=FAILED)
    with caplog.at_level(logging.INFO, "gateway.observe.turns"):
        log_line(None, record, Receipt("conv-1", None))
    [line] = caplog.records
    facts = vars(line)
    assert (line.levelname, facts["turn_id"], facts["request_id"]) == ("WARNING", record.begun.turn_id, record.begun.request_id)
    assert (facts["code"], facts["upstream_status"], facts["logged"]) == ("provider_overloaded", 529, "spooled")
    assert "مُعْجَم" not in str(facts)
    assert "سرّ" not in str(facts)


def test_a_good_turn_has_one_at_debug_level_alone(caplog: pytest.LogCaptureFixture) -> None:
    record = turn("conv-1", "سؤال", "جواب")
    with caplog.at_level(logging.INFO, "gateway.observe.turns"):
        log_line(None, record, Receipt("conv-1", 7))
    assert not caplog.records
    with caplog.at_level(logging.DEBUG, "gateway.observe.turns"):
        log_line(None, record, Receipt("conv-1", 7))
    [line] = caplog.records
    assert (vars(line)["status"], vars(line)["logged"]) == ("completed", "stored")
