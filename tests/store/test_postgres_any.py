"""Any turn at all goes into PostgreSQL and comes back equal; what the server says decides what its caller is told."""

import uuid
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.ids import new_turn_id
from gateway.core.jsontext import dumps_text
from gateway.core.turn import TurnRecord
from gateway.store.base import StoreRefused, StoreUnavailable
from gateway.store.postgres import PostgresStore
from tests.store import strategies
from tests.store.samples import turn


def storable(record: TurnRecord) -> TurnRecord:
    """The record as the engine would make it: ids of its own, parts that are JSON and stand beside a question, only callers
    charged."""
    begun = record.begun
    parts = None if begun.question is None or begun.question_parts is None else dumps_text([begun.question_parts])
    conversation = f"{begun.conversation_id}{uuid.uuid4()}"
    charged_on = begun.charged_on if begun.caller is not None else None
    made = replace(begun, turn_id=new_turn_id(), conversation_id=conversation, question_parts=parts, charged_on=charged_on)
    return replace(record, begun=made)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(strategies.records.map(storable), min_size=1, max_size=3))
async def test_any_turns_written_together_come_back_equal(store: PostgresStore, records: list[TurnRecord]) -> None:
    stored = await store.put(records)
    assert await store.put(records[::-1]) == stored[::-1]
    for record, place in zip(records, stored, strict=True):
        found = await store.turn(record.begun.turn_id)
        assert found is not None
        # Whether the day's count still lacked it is settled by the writing.
        settled = replace(record, begun=replace(record.begun, charged_on=None, uncounted=False))
        assert (found.record, found.message_id) == (settled, place.message_id)


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("22001", StoreRefused),  # too long for its column
        ("23514", StoreRefused),  # against a check
        ("54000", StoreRefused),  # over a limit
        ("25006", StoreUnavailable),  # read-only
        ("40P01", StoreUnavailable),  # deadlock
        ("42501", StoreUnavailable),  # not allowed
        ("53100", StoreUnavailable),  # disk full
        ("53300", StoreUnavailable),  # too many connections
        ("57014", StoreUnavailable),  # cancelled
        ("57P01", StoreUnavailable),  # shutting down
        ("58030", StoreUnavailable),  # I/O error
        ("XX000", StoreUnavailable),  # a defect of the server
    ],
)
async def test_what_the_server_says_decides(
    store: PostgresStore, database_url: str, sqlstate: str, expected: type[Exception]
) -> None:
    await store.put([turn()])
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'row quoted: %', NEW.content USING ERRCODE = '{sqlstate}'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION fail();
        """
    )
    record = turn(question="سر")
    with pytest.raises(expected) as caught:
        await store.put([record])
    assert "سر" not in str(caught.value)
    await connection.execute("DROP TRIGGER fail ON messages")
    await connection.close()
    assert (await store.put([record]))[0].message_id is not None
