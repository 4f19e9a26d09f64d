"""From an authorised request to a running turn: ownership, choice of provider, history, limits."""

from collections import OrderedDict
from typing import Final

from gateway.access.callers import Caller
from gateway.core.errors import GatewayError
from gateway.core.ids import new_conversation_id
from gateway.core.request import ChatRequest
from gateway.engine.idempotency import Keys
from gateway.engine.live import LiveTurn
from gateway.engine.prompt import PromptBuilder
from gateway.engine.routing import Router
from gateway.engine.runner import Engine, NewTurn
from gateway.store.base import Store, StoreUnavailable, Viewer

_REMEMBERED: Final = 20_000


class Intake:
    """Accepts turns."""

    def __init__(
        self, engine: Engine, router: Router, prompts: PromptBuilder, store: Store, keys: Keys, *, simulated: bool
    ) -> None:
        self._engine = engine
        self._router = router
        self._prompts = prompts
        self._store = store
        self._keys = keys
        self._simulated = simulated
        self._allowed: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    async def accept(
        self, request: ChatRequest, caller: Caller, *, request_id: str, streamed: bool, idempotency_key: str | None
    ) -> LiveTurn:
        """The turn a request asks for: a new one, or the one its key stands for. Raises `GatewayError`."""

        async def begin(turn_id: str | None) -> LiveTurn:
            return await self._begin(
                request, caller, turn_id, request_id=request_id, streamed=streamed, idempotency_key=idempotency_key
            )

        if idempotency_key is None:
            return await begin(None)
        return await self._keys.open(caller.id, idempotency_key, request.body_hash, begin)

    async def _begin(
        self,
        request: ChatRequest,
        caller: Caller,
        turn_id: str | None,
        *,
        request_id: str,
        streamed: bool,
        idempotency_key: str | None,
    ) -> LiveTurn:
        choice = self._router.choose(request.provider, request.model)
        conversation_id = request.conversation_id or new_conversation_id()
        if request.conversation_id:
            await self._check_access(conversation_id, caller.id)
        prepared = await self._prompts.build(request, conversation_id, Viewer(caller.id))
        return self._engine.start(
            NewTurn(
                conversation_id=conversation_id,
                caller=caller.id,
                choice=choice,
                prepared=prepared,
                request_hash=request.body_hash,
                request_id=request_id,
                idempotency_key=idempotency_key,
                streamed=streamed,
                simulated=self._simulated,
                turn_id=turn_id,
            )
        )

    def forget(self, conversation_id: str, caller_id: str | None) -> None:
        """A conversation was deleted."""
        self._allowed.pop((conversation_id, caller_id), None)

    async def _check_access(self, conversation_id: str, caller_id: str | None) -> None:
        """A conversation is its owner's; while the log is away nobody can tell, and the store sorts it out later."""
        if any(turn.begun.caller != caller_id for turn in self._engine.running_in(conversation_id)):
            raise not_found()
        key = (conversation_id, caller_id)
        if key in self._allowed:
            self._allowed.move_to_end(key)
            return
        try:
            allowed = await self._store.access(conversation_id, caller_id)
        except StoreUnavailable:
            return
        if not allowed:
            raise not_found()
        self._allowed[key] = None
        if len(self._allowed) > _REMEMBERED:
            self._allowed.popitem(last=False)


def not_found() -> GatewayError:
    """The same for what does not exist and for what is another caller's."""
    return GatewayError("not_found", "There is no such conversation.")
