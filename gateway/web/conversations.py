"""The log over HTTP: /conversations."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from gateway.core.errors import GatewayError
from gateway.core.jsontext import clean
from gateway.core.turn import TurnBegun
from gateway.engine.routing import ALIASES
from gateway.store.base import BadQuery, ConversationFilter, Page, Viewer
from gateway.web.gate import viewer
from gateway.web.intake import not_found
from gateway.web.monitoring import json_response
from gateway.web.services import SERVICES, Services
from gateway.web.validation import invalid

Text = Annotated[str, Field(max_length=500)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


_MOMENT: dict[str, Any] = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"const": ""}]}
Moment = Annotated[datetime, AfterValidator(_in_utc), WithJsonSchema(_MOMENT)]
ProviderName = Annotated[Text, AfterValidator(lambda name: ALIASES.get(name, name))]


class Filters(BaseModel):
    """Which conversations are wanted: the query of GET /conversations/export."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    provider: ProviderName | None = None
    """Those begun with this provider; `gemini` is `google`."""
    user: Text | None = None
    """Those of this owner, such as `user:7` or `key:app`."""
    status: Literal["completed", "stopped", "interrupted", "failed"] | None = None
    """Those with a turn that ended so."""
    q: Text | None = None
    """Those in which a message has all these words, in any of their forms; words in double quotes or « » must follow each
    other."""
    tool: Text | None = None
    """Those in which this tool was called."""
    min_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Those that cost this much or more, in US dollars."""
    since: Moment | None = None
    """Those active at or after this moment: ISO 8601 (UTC unless it says otherwise), or Unix seconds or milliseconds."""
    until: Moment | None = None
    """Those active before this moment."""


class ListQuery(Filters):
    """The query of GET /conversations."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """How many at most."""
    cursor: Annotated[str, Field(max_length=1000)] | None = None
    """`next_cursor` of the page before."""


async def list_conversations(request: web.Request) -> web.Response:
    """A page of conversations, newest activity first."""
    services = request.app[SERVICES]
    sees = viewer(await services.gate.caller(request))
    page = await read_page(services, request.query, sees)
    body: dict[str, Any] = {"conversations": page.conversations, "next_cursor": page.next_cursor}
    return json_response(body | {"incomplete": True} if page.incomplete else body)


async def read_page(services: Services, query: Mapping[str, str], sees: Viewer) -> Page:
    """The page that a query asks for. Raises `GatewayError` `invalid_request`."""
    wanted = filter_of(ListQuery, query)
    try:
        return await services.store.conversations(sees, wanted)
    except BadQuery as error:
        raise GatewayError("invalid_request", str(error)) from None


def filter_of(model: type[Filters], query: Mapping[str, str]) -> ConversationFilter:
    """What a query asks for; an empty value is none. Raises `GatewayError` `invalid_request`."""
    try:
        found = model.model_validate({name: clean(value) for name, value in query.items() if value})
    except ValidationError as error:
        raise invalid(error) from None
    return ConversationFilter(**found.model_dump())


async def get_conversation(request: web.Request) -> web.Response:
    """A conversation with its messages and the turns that still run in it."""
    services = request.app[SERVICES]
    sees = viewer(await services.gate.caller(request))
    return json_response(await read_conversation(services, clean(request.match_info["conversation_id"]), sees))


async def read_conversation(services: Services, conversation_id: str, sees: Viewer) -> dict[str, Any]:
    """A conversation as JSON-ready values. Raises `GatewayError` `not_found`."""
    running = await _running(services, conversation_id, sees)
    found = await services.store.conversation(conversation_id, sees)
    if found is None:
        if not running:
            raise not_found()
        found = _only_running(conversation_id, running[0])
    # One that has ended in between is a message now.
    ended = {message["turn_id"] for message in found["messages"]}
    found["active_turns"] = [turn.turn_id for turn in running if turn.turn_id not in ended]
    return found


async def delete_conversation(request: web.Request) -> web.Response:
    """Delete a conversation and stop what still runs in it."""
    services = request.app[SERVICES]
    sees = viewer(await services.gate.caller(request))
    conversation_id = clean(request.match_info["conversation_id"])
    running = await _running(services, conversation_id, sees)
    if not await services.store.delete_conversation(conversation_id, sees) and not running:
        raise not_found()
    of = None if sees.everything else sees.caller
    services.engine.forget_conversation(conversation_id, of)
    services.intake.forget(conversation_id)
    if services.shared is not None:
        await services.shared.sharing.forget_conversation(conversation_id, of)
    return web.Response(status=204)


async def _running(services: Services, conversation_id: str, sees: Viewer) -> list[TurnBegun]:
    """The turns that run in a conversation, here or in another process, oldest first."""
    found = [turn.begun for turn in services.engine.running_in(conversation_id)]
    if services.shared is not None:
        found += [turn.begun for turn in await services.shared.following.running_in(conversation_id)]
    mine = [begun for begun in found if sees.everything or begun.caller == sees.caller]
    return sorted(mine, key=lambda begun: begun.turn_id)


def _only_running(conversation_id: str, first: TurnBegun) -> dict[str, Any]:
    created = datetime.fromtimestamp(first.started_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "id": conversation_id,
        "provider": first.provider,
        "created_at": created.replace("+00:00", "Z"),
        "updated_at": created.replace("+00:00", "Z"),
        "user_id": first.caller,
        "messages": [],
    }
