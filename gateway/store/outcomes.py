"""Writing many turns at once without one bad turn holding up the others."""

import logging
from collections.abc import Sequence

from gateway.core.turn import TurnRecord
from gateway.store.base import Store, Stored, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

Outcome = Stored | StoreRefused | StoreUnavailable


async def put_each(store: Store, records: Sequence[TurnRecord]) -> list[Outcome]:
    """Put turns of different conversations in one statement, and say for each what came of it.

    A refused statement is halved until the turns at fault stand alone. Raises nothing but `CancelledError`. What an error
    says is not logged where it may quote the turn.
    """
    try:
        stored = await store.put(records)
        return [outcome for _, outcome in zip(records, stored, strict=True)]
    except StoreUnavailable as error:
        return [error] * len(records)
    except StoreRefused as error:
        if len(records) == 1:
            log.error("turn %s is kept apart in the journal: %s", records[0].begun.turn_id, error)  # noqa: TRY400
            return [error]
    except Exception as error:
        # A mistake of the server's own; the turn is no less worth keeping.
        if len(records) == 1:
            name = type(error).__name__
            trace = (RuntimeError, RuntimeError(name), error.__traceback__)
            log.error("turn %s is kept apart in the journal", records[0].begun.turn_id, exc_info=trace)  # noqa: TRY400
            return [StoreRefused(name)]
    half = len(records) // 2
    outcomes = await put_each(store, records[:half])
    if isinstance(outcomes[-1], StoreUnavailable):
        return outcomes + [outcomes[-1]] * (len(records) - half)
    return outcomes + await put_each(store, records[half:])
