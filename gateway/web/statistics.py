"""GET /stats and GET /metrics: numbers for the operator."""

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from gateway.access.budgets import Budgets
from gateway.core.errors import GatewayError
from gateway.observe.metrics import CONTENT_TYPE
from gateway.web.monitoring import json_response
from gateway.web.services import SERVICES

_WINDOW: Final = re.compile(r"([1-9]\d{0,4})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=3660)
# Days that are over are counted once, but not by caller: over many of them that would be a long look.
_BY_CALLER: Final = timedelta(days=3)
_OF_CALLER: Final = ("caller", "turns", "failures", "input_tokens", "output_tokens", "cost_usd")


async def stats(request: web.Request) -> web.Response:
    """What happened in the last hours, from the log, and what is going on now."""
    services = request.app[SERVICES]
    await _for_operators(request)
    text = request.query.get("window", "24h")
    window = _window(text)
    since = datetime.now(UTC) - window
    counted = await services.store.statistics(since)
    callers = await services.reports.callers(since) if window <= _BY_CALLER else None
    counted["turns"]["by_caller"] = callers and [{name: row[name] for name in _OF_CALLER} for row in callers]
    active = {"active_turns": services.engine.active, "active_streams": services.engine.readers}
    keys = [asdict(key) for found in services.router.health().values() for key in found.keys]
    began = since.isoformat(timespec="seconds").replace("+00:00", "Z")
    budget = await _budget(services.budgets) if services.budgets else None
    return json_response({"window": text, "since": began, **counted, "budget": budget, **active, "keys": keys})


async def _budget(budgets: Budgets) -> dict[str, float]:
    return {
        "spent_usd": round(await budgets.refreshed(), 10),
        "daily_budget_usd": budgets.total_usd,
        "user_daily_budget_usd": budgets.user_usd,
    }


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    await _for_operators(request)
    body = request.app[SERVICES].metrics.render()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


async def _for_operators(request: web.Request) -> None:
    """Raises `GatewayError`: `unauthenticated`, `forbidden`."""
    caller = await request.app[SERVICES].gate.caller(request)
    if not caller.reads_everything:
        raise GatewayError("forbidden", "Only the operator may see this.")


def _window(text: str) -> timedelta:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise GatewayError(
            "invalid_request",
            "The window takes a number and a unit, such as 15m, 24h or 30d.",
            fields=(("window", "takes a number and one of s, m, h, d"),),
        )
    return min(timedelta(**{_UNITS[found[2]]: int(found[1])}), _LONGEST)
