"""Writing many turns at once without one bad turn holding up the others."""

import logging
from collections.abc import Sequence

from gateway.core.turn import TurnRecord
from gateway.store.base import Store, Stored, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

Outcome = Stored | StoreRefused | StoreUnavailable


async def put_each(store: Store, records: Sequence[TurnRecord]) -> list[Outcome]:
    """Put turns of different conversations in one statement, and say for each what came of it.

    A refused statement is halved until the turns at fault stand alone. Raises nothing but `CancelledError`.
    """
    try:
        stored = await store.put(records)
        return [outcome for _, outcome in zip(records, stored, strict=True)]
    except StoreUnavailable as error:
        return [error] * len(records)
    except Exception as error:
        # What is neither a refusal nor an outage is a mistake of the server's own; the turn is no less worth keeping.
        if len(records) == 1:
            log.exception("the database refuses turn %s, which is kept apart in the journal", records[0].begun.turn_id)
            return [error if isinstance(error, StoreRefused) else StoreRefused(repr(error))]
    half = len(records) // 2
    outcomes = await put_each(store, records[:half])
    if isinstance(outcomes[-1], StoreUnavailable):
        return outcomes + [outcomes[-1]] * (len(records) - half)
    return outcomes + await put_each(store, records[half:])
