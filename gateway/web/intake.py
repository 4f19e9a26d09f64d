"""From an authorised request to a running turn: ownership, choice of provider, history, limits."""

from collections import OrderedDict
from typing import Final

from gateway.access.callers import Caller
from gateway.access.charges import Ledger
from gateway.access.quota import Quota, tightest
from gateway.access.rates import RateLimits
from gateway.core.errors import GatewayError
from gateway.core.ids import new_conversation_id, new_turn_id
from gateway.core.request import ChatRequest
from gateway.core.turn import TurnBegun, TurnRecord
from gateway.core.value import value
from gateway.engine.answers import Answers, Wish
from gateway.engine.idempotency import Keys
from gateway.engine.live import LiveTurn
from gateway.engine.prompt import PromptBuilder
from gateway.engine.records import now_ms, shutting_down
from gateway.engine.routing import Router
from gateway.engine.runner import Engine
from gateway.store.base import Receipt, Store, StoreUnavailable, Viewer

_REMEMBERED: Final = 20_000


@value
class Accepted:
    """A turn to read, and what is left of its caller's tightest limit."""

    turn: LiveTurn
    quota: Quota | None


class Intake:
    """Accepts turns."""

    def __init__(
        self,
        engine: Engine,
        router: Router,
        prompts: PromptBuilder,
        store: Store,
        keys: Keys,
        rates: RateLimits,
        ledger: Ledger,
        answers: Answers | None,
        *,
        simulated: bool,
    ) -> None:
        self._engine = engine
        self._router = router
        self._prompts = prompts
        self._store = store
        self._keys = keys
        self._rates = rates
        self._ledger = ledger
        self._answers = answers
        self._simulated = simulated
        self._allowed: OrderedDict[str, str | None] = OrderedDict()

    async def accept(
        self,
        request: ChatRequest,
        caller: Caller,
        *,
        request_id: str,
        streamed: bool,
        idempotency_key: str | None,
        wish: Wish,
    ) -> Accepted:
        """The turn a request asks for: a new one, or the one its key stands for. Raises `GatewayError`."""
        if self._engine.draining:
            return await self._join(request, caller, idempotency_key)
        if idempotency_key is None:
            new = await self._begin(
                request, caller, None, request_id=request_id, streamed=streamed, idempotency_key=None, wish=wish
            )
            return Accepted(*new)
        quota: Quota | None = None
        began = False

        async def begin(turn_id: str | None) -> LiveTurn:
            nonlocal quota, began
            began = True
            turn, quota = await self._begin(
                request, caller, turn_id, request_id=request_id, streamed=streamed, idempotency_key=idempotency_key, wish=wish
            )
            return turn

        turn = await self._keys.open(caller.id, idempotency_key, request.body_hash, begin)
        return Accepted(turn, quota if began else await self._rates.resume(caller))

    async def _join(self, request: ChatRequest, caller: Caller, key: str | None) -> Accepted:
        """Nothing begins here any more. A key is not even claimed, as the request may be on its way to another process now."""
        turn = None if key is None else await self._keys.join(caller.id, key, request.body_hash)
        if turn is None:
            raise shutting_down()
        return Accepted(turn, await self._rates.resume(caller))

    async def _begin(
        self,
        request: ChatRequest,
        caller: Caller,
        turn_id: str | None,
        *,
        request_id: str,
        streamed: bool,
        idempotency_key: str | None,
        wish: Wish,
    ) -> tuple[LiveTurn, Quota | None]:
        choice = self._router.choose(request.provider, request.model, pinned=request.pinned)
        conversation_id = request.conversation_id or new_conversation_id()
        if request.conversation_id:
            await self._check_access(conversation_id, caller.id)
        prepared = await self._prompts.build(request, conversation_id, Viewer(caller.id))
        source = None if self._answers is None else self._answers.question(choice, prepared.prompt, wish)
        rate = await self._rates.turn(caller)
        charge = await self._ledger.charge(caller, conversation_id, follow_up=prepared.question is None)
        try:
            if request.conversation_id:
                await self._check_race(conversation_id, caller.id)
            begun = TurnBegun(
                turn_id=turn_id or new_turn_id(),
                conversation_id=conversation_id,
                caller=caller.id,
                provider=choice.target.name,
                model=choice.model,
                question=prepared.question,
                question_parts=prepared.question_parts,
                tool_results=prepared.tool_results,
                started_ms=now_ms(),
                request_hash=request.body_hash,
                request_id=request_id,
                idempotency_key=idempotency_key,
                streamed=streamed,
                simulated=self._simulated,
                charged_on=charge.charged_on,
                uncounted=charge.uncounted,
            )
            turn = self._engine.start(begun, choice, prepared.prompt, source=source, attended=idempotency_key is None)
        except BaseException:
            charge.close()
            raise
        charge.begun(begun.turn_id)
        turn.when_ended(lambda outcome: charge.close(TurnRecord(begun, outcome.ended) if outcome.ended else None))
        if source is not None:
            turn.when_ended(lambda _: source.close())
        return turn, tightest(rate, charge.quota)

    def ended(self, turn: LiveTurn, record: TurnRecord, receipt: Receipt) -> None:
        """A turn ended. A conversation with a stored turn of a caller is open to them from now on."""
        begun = record.begun
        if receipt.message_id is not None and receipt.conversation_id == begun.conversation_id:
            self._allowed[begun.conversation_id] = begun.caller
            self._allowed.move_to_end(begun.conversation_id)
            if len(self._allowed) > _REMEMBERED:
                self._allowed.popitem(last=False)

    def forget(self, conversation_id: str) -> None:
        """A conversation was deleted."""
        self._allowed.pop(conversation_id, None)

    async def _check_access(self, conversation_id: str, caller_id: str | None) -> None:
        """A conversation is its owner's; while the log is away nobody can tell, and the store sorts it out later."""
        if self._allowed.get(conversation_id, ...) == caller_id:
            return
        try:
            allowed = await self._store.access(conversation_id, caller_id)
        except StoreUnavailable:
            allowed = True
        if not allowed:
            raise not_found()
        await self._check_race(conversation_id, caller_id)

    async def _check_race(self, conversation_id: str, caller_id: str | None) -> None:
        """A conversation that the log does not have yet, or did not have a moment ago, is whose turn was first."""
        running = {turn.begun.caller for turn in self._engine.running_in(conversation_id)}
        if running <= {caller_id} and self._allowed.get(conversation_id, caller_id) == caller_id:
            return
        try:
            known = await self._store.conversation(conversation_id, Viewer(caller_id, everything=True))
        except StoreUnavailable:
            known = None
        if known is None or known["user_id"] not in (None, caller_id):
            raise not_found()


def not_found() -> GatewayError:
    """The same for what does not exist and for what is another caller's."""
    return GatewayError("not_found", "There is no such conversation.")
