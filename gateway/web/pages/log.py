"""The log as pages: conversations, one conversation, what failed, and who asked."""

from datetime import UTC, datetime
from typing import Any, Final, get_args
from urllib.parse import urlencode

from aiohttp import web

from gateway.access.callers import Caller
from gateway.core.errors import KINDS, GatewayError
from gateway.core.jsontext import clean
from gateway.core.turn import TurnStatus
from gateway.store.base import Viewer
from gateway.web.conversations import Filters, read_conversation, read_page
from gateway.web.pages.overview import TONES, WINDOWS, window_of
from gateway.web.pages.render import page
from gateway.web.services import SERVICES, Services

_OPERATOR: Final = Viewer(None, everything=True)
_FAILURES: Final = 50
_MAX_ROW: Final = 2**63 - 1


async def conversations(request: web.Request) -> web.Response:
    """Conversations, newest activity first, through filters."""
    services = request.app[SERVICES]
    found = await read_page(services, request.query, _OPERATOR)
    outlines = await services.reports.outlines([row["id"] for row in found.conversations])
    return page(
        request,
        "conversations.html",
        rows=[row | {"outline": outlines.get(row["id"])} for row in found.conversations],
        next_cursor=found.next_cursor,
        incomplete=found.incomplete,
        sent={name: clean(value) for name, value in request.query.items() if value},
        export=_export(request),
        providers=list(services.router.targets),
        statuses=get_args(TurnStatus),
    )


def _export(request: web.Request) -> str:
    """The address of all that the page's filters let through."""
    sent = {name: value for name, value in request.query.items() if value and name in Filters.model_fields}
    return f"/conversations/export?{urlencode(sent)}" if sent else "/conversations/export"


async def conversation(request: web.Request) -> web.Response:
    """One conversation with all that the log knows of its turns."""
    services = request.app[SERVICES]
    conversation_id = clean(request.match_info["conversation_id"])
    found = await read_conversation(services, conversation_id, _OPERATOR)
    details = await services.reports.turn_details(conversation_id)
    messages = [
        message | {"details": details.get(message["turn_id"]) if message["role"] == "assistant" else None}
        for message in found["messages"]
    ]
    costs = [message["usage"]["cost_usd"] for message in messages if message["usage"] and message["usage"]["cost_usd"]]
    return page(request, "conversation.html", found=found, messages=messages, cost=sum(costs) if costs else None)


async def errors(request: web.Request) -> web.Response:
    """The newest turns that failed, with the providers' own words."""
    services = request.app[SERVICES]
    code, provider = (clean(request.query.get(name, "")) or None for name in ("code", "provider"))
    rows = await services.reports.failures(_FAILURES + 1, _row(request.query.get("before")), code, provider)
    return page(
        request,
        "errors.html",
        rows=rows[:_FAILURES],
        next_before=rows[_FAILURES - 1]["id"] if len(rows) > _FAILURES else None,
        codes=sorted(KINDS),
        providers=list(services.router.targets),
        sent={"code": code, "provider": provider},
    )


async def callers(request: web.Request) -> web.Response:
    """Who asked, how much, and what is left to them today."""
    services, window = request.app[SERVICES], window_of(request)
    since = window.since(datetime.now(UTC))
    rows = await services.reports.callers(since)
    return page(
        request,
        "callers.html",
        rows=[row | _limits(services, row) for row in rows],
        window=window,
        windows=WINDOWS,
        since=since,
    )


async def playground(request: web.Request) -> web.Response:
    """A place to try the gateway as a client of it."""
    router = request.app[SERVICES].router
    targets = [target for target in router.targets.values() if target.keys]
    return page(request, "playground.html", targets=targets, default_provider=router.default_provider, tones=TONES)


def _limits(services: Services, row: dict[str, Any]) -> dict[str, Any]:
    """What holds for a caller: questions a day (0: any number) and a rate of turns."""
    caller = _caller(row["caller"])
    return {"daily_limit": services.accounts.daily.limit_of(caller), "rate": services.rates.rate_of(caller.kind)}


def _caller(caller_id: str | None) -> Caller:
    if caller_id is None:
        return Caller("anonymous")
    if caller_id.startswith("user:"):
        return Caller("user", caller_id)
    return Caller("key" if caller_id.startswith("key:") else "admin", caller_id)


def _row(text: str | None) -> int | None:
    """The id of a row out of an address. Raises `GatewayError` `invalid_request`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_ROW):
        raise GatewayError("invalid_request", "There is no such row.")
    return int(text)
