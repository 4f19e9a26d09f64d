"""What a turn takes from its caller's allowance when it begins, and gets back when it proves to cost nothing."""

from collections import Counter
from dataclasses import dataclass

from gateway.access.budgets import Budgets
from gateway.access.callers import Caller
from gateway.access.daily import DailyLimits, Reservation
from gateway.access.quota import Quota
from gateway.access.rounds import ToolRounds
from gateway.core.errors import GatewayError
from gateway.core.turn import TurnRecord

_BUSY_RETRY_S = 2


@dataclass(slots=True, eq=False)
class Charge:
    """A turn's place in the books. `quota` is the daily limit's, for the answer's headers; `close` it exactly when the turn
    has ended, however it ended (further calls do nothing)."""

    ledger: "Ledger"
    caller: Caller
    conversation_id: str
    follow_up: bool
    reservation: Reservation | None
    turn_id: str | None = None
    closed: bool = False

    @property
    def quota(self) -> Quota | None:
        """What is left of the day."""
        return self.reservation.quota if self.reservation else None

    @property
    def charged_on(self) -> str | None:
        """The UTC day that the question was taken from (ISO 8601), if any."""
        return self.reservation.day.isoformat() if self.reservation else None

    @property
    def uncounted(self) -> bool:
        """Whether the database has yet to count it."""
        return self.reservation is not None and not self.reservation.counted

    def begun(self, turn_id: str) -> None:
        """The turn runs."""
        self.turn_id = turn_id
        self.ledger.begun(self, turn_id)

    def close(self, record: TurnRecord | None = None) -> None:
        """The turn has ended as `record` says, or (None) never came to run."""
        if not self.closed:
            self.closed = True
            self.ledger.settle(self, record)


class Ledger:
    """Opens and settles charges."""

    def __init__(
        self, daily: DailyLimits, rounds: ToolRounds, max_active_per_caller: int, budgets: Budgets | None = None
    ) -> None:
        """`max_active_per_caller` 0: as many turns at once as a caller likes."""
        self._budgets = budgets
        self._daily = daily
        self._rounds = rounds
        self._max_active = max_active_per_caller
        self._active: Counter[str] = Counter()

    async def charge(self, caller: Caller, conversation_id: str, *, follow_up: bool) -> Charge:
        """Take what a turn takes. Raises `OverLimit` `daily_limit_reached`, `GatewayError` `rate_limited` (too many turns
        at once), `invalid_request` (too many tool rounds), `daily_limit_reached` and `overloaded` (nothing may be spent any
        more today); then nothing was taken."""
        if self._budgets is not None:
            await self._budgets.check(caller)
        self._enter(caller.id)
        try:
            reservation = None
            if follow_up:
                await self._rounds.follow_up(conversation_id, caller.id)
            else:
                reservation = await self._daily.reserve(caller)
                self._rounds.question(conversation_id, caller.id)
        except BaseException:
            self._leave(caller.id)
            raise
        return Charge(self, caller, conversation_id, follow_up, reservation)

    def begun(self, charge: Charge, turn_id: str) -> None:
        """Called by the charge itself."""
        if self._budgets is not None:
            self._budgets.begun(turn_id)
        if charge.reservation is not None:
            self._daily.begun(charge.reservation, turn_id)

    def settle(self, charge: Charge, record: TurnRecord | None) -> None:
        """Called by the charge itself."""
        self._leave(charge.caller.id)
        if self._budgets is not None and charge.turn_id is not None:
            self._budgets.ended(charge.turn_id, record)
        if charge.follow_up:
            self._rounds.ended(charge.conversation_id, charge.caller.id, cost_nothing=record is None or record.cost_nothing)
        elif charge.reservation is None:
            return
        elif record is None:
            self._daily.refund(charge.reservation)
        elif record.cost_nothing:
            self._daily.forgive(charge.reservation)

    def _enter(self, caller_id: str | None) -> None:
        if caller_id is None:
            return
        if self._max_active and self._active[caller_id] >= self._max_active:
            raise GatewayError(
                "rate_limited", "Too many of your questions are being answered at once; wait for one.", retry_after=_BUSY_RETRY_S
            )
        self._active[caller_id] += 1

    def _leave(self, caller_id: str | None) -> None:
        if caller_id is None:
            return
        self._active[caller_id] -= 1
        if self._active[caller_id] <= 0:
            del self._active[caller_id]
