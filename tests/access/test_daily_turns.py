"""What a turn owes to its caller's count reaches the database with the turn, once, whoever writes it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.access.callers import Caller
from gateway.access.daily import DailyLimits, Reservation
from gateway.access.quota import OverLimit
from gateway.core.events import UsageReported
from gateway.core.turn import TurnRecord
from gateway.store.base import Viewer
from gateway.store.postgres import PostgresStore
from gateway.store.record_json import decode_begun, decode_record, encode_begun, encode_record
from tests.access.databases import OwnDatabase, Switch
from tests.store.samples import turn

AISHA = Caller("user", "user:7")
TODAY = datetime.now(UTC).date()


def charged(reservation: Reservation, **more: Any) -> TurnRecord:
    """A turn that this question became."""
    day = {"charged_on": reservation.day.isoformat(), "uncounted": not reservation.counted}
    return turn(**{"caller": reservation.caller, **day, **more})


def failed(reservation: Reservation, **more: Any) -> TurnRecord:
    return charged(reservation, **{"content": "", "status": "failed", **more})


class Books:
    """Daily limits of one process, whose turns go to `store`."""

    def __init__(self, database: OwnDatabase, store: PostgresStore, limit: int = 3) -> None:
        self.switch = Switch(database.pool())
        self.daily = DailyLimits(self.switch, user_limit=limit, key_limit=0)
        self.store = store
        self._database = database
        store.on_charged = self.daily.stored

    async def ask(self) -> Reservation:
        reservation = await self.daily.reserve(AISHA)
        assert reservation is not None
        return reservation

    async def ask_away(self) -> Reservation:
        self.switch.away = True
        reservation = await self.ask()
        self.switch.away = False
        self.daily._breaker.worked()
        return reservation

    async def refuses(self) -> bool:
        try:
            await self.daily.reserve(AISHA)
        except OverLimit:
            return True
        return False

    async def count(self) -> int:
        rows = await self._database.rows("SELECT count FROM daily_usage WHERE caller = 'user:7' AND day = $1", TODAY)
        return rows[0]["count"] if rows else 0


@pytest.fixture
def books(database: OwnDatabase, store: PostgresStore) -> Books:
    return Books(database, store)


@pytest.mark.parametrize(("counted", "free", "owed"), [(True, False, 0), (True, True, -1), (False, False, 1), (False, True, 0)])
def test_what_a_turn_owes(counted: bool, free: bool, owed: int) -> None:
    record = turn(charged_on="2026-01-31", uncounted=not counted, **({"content": "", "status": "interrupted"} if free else {}))
    assert record.owed == owed
    assert turn(content="", status="failed").owed == 0


def test_the_journal_keeps_it() -> None:
    record = turn(charged_on="2026-01-31", uncounted=True)
    assert decode_begun(encode_begun(record.begun)) == record.begun
    assert decode_record(encode_record(record)).owed == 1


async def test_a_question_asked_while_the_database_was_away_is_counted_with_its_turn(books: Books) -> None:
    reservation = await books.ask_away()
    record = charged(reservation)
    books.daily.begun(reservation, record.begun.turn_id)
    assert (await books.count(), await books.daily.used("user:7")) == (0, 1)
    for _ in range(3):
        await books.store.put([record])
        assert (await books.count(), await books.daily.used("user:7")) == (1, 1)
    await books.ask()
    await books.ask()
    assert await books.refuses()
    assert await books.count() == 3


async def test_whoever_finds_the_turn_after_a_kill_counts_it(books: Books, database: OwnDatabase, store: PostgresStore) -> None:
    left = charged(await books.ask_away())
    after = Books(database, store)
    await store.put([decode_record(encode_record(left))])
    assert await after.count() == 1
    assert await after.daily.used("user:7") == 1


async def test_a_killed_process_took_no_question_for_what_never_came(books: Books, database: OwnDatabase) -> None:
    left = failed(await books.ask(), status="interrupted")
    assert await books.count() == 1
    await Books(database, books.store).store.put([left])
    assert await books.count() == 0


async def test_turns_on_their_way_keep_their_place(books: Books) -> None:
    kept = [await books.ask_away() for _ in range(2)]
    for number, reservation in enumerate(kept):
        books.daily.begun(reservation, f"turn-{number}")
    assert (await books.ask()).quota.remaining == 0
    assert await books.refuses()
    assert await books.count() == 1


@pytest.mark.parametrize("stored_first", [True, False])
async def test_what_cost_nothing_is_given_back_with_the_turn(books: Books, stored_first: bool) -> None:
    reservations = [await books.ask() for _ in range(3)]
    assert await books.refuses()
    record = failed(reservations[0])
    books.daily.begun(reservations[0], record.begun.turn_id)
    if stored_first:
        await books.store.put([record])
    books.daily.forgive(reservations[0])
    if not stored_first:
        assert (await books.count(), await books.daily.used("user:7")) == (3, 2)
        await books.store.put([record])
    assert (await books.count(), await books.daily.used("user:7")) == (2, 2)
    await books.ask()
    assert await books.refuses()


async def test_neither_counted_nor_paid(books: Books) -> None:
    reservation = await books.ask_away()
    record = failed(reservation)
    books.daily.begun(reservation, record.begun.turn_id)
    books.daily.forgive(reservation)
    assert await books.daily.used("user:7") == 0
    await books.store.put([record])
    assert (await books.count(), await books.daily.used("user:7")) == (0, 0)


async def test_a_failure_that_used_tokens_is_paid_for(books: Books) -> None:
    record = failed(await books.ask(), usage=UsageReported(9, 5, 0, 0, 0))
    await books.store.put([record])
    assert await books.count() == 1


async def test_deleting_the_conversation_gives_nothing_back(books: Books) -> None:
    """A turn that is not written because its conversation was deleted was asked all the same."""
    reservation = await books.ask_away()
    record = charged(reservation, started_ms=1_000)
    books.daily.begun(reservation, record.begun.turn_id)
    await books.store.put([turn(caller="user:7", started_ms=1_000)])
    assert await books.store.delete_conversation("conv-1", Viewer("user:7"))
    [place] = await books.store.put([record])
    assert place.message_id is None
    await books.daily.settle()
    assert (await books.count(), await books.daily.used("user:7")) == (1, 1)


async def test_a_turn_moved_to_a_conversation_of_its_own_counts(books: Books) -> None:
    await books.store.put([turn(caller="user:8")])
    record = charged(await books.ask_away())
    [place] = await books.store.put([record])
    assert place.conversation_id != "conv-1"
    assert await books.count() == 1


async def test_turns_of_one_statement_are_counted_together(books: Books) -> None:
    records = [charged(await books.ask_away(), conversation=f"conv-{number}") for number in range(3)]
    free = turn(conversation="conv-x", caller="user:8", charged_on=TODAY.isoformat(), content="", status="failed")
    await books.store.put([*records, free, turn(conversation="conv-y")])
    assert await books.count() == 3
