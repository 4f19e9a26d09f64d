"""The first page: how the gateway fares now, and what happened in the last hour, day or month."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from gateway.store.base import StoreUnavailable
from gateway.web.pages.charts import Chart, Frame, Series
from gateway.web.pages.formats import compact, duration, number, usd
from gateway.web.pages.language import Language, language_of
from gateway.web.pages.render import page
from gateway.web.services import SERVICES, Services

TONES: Final = {"openai": "tone-1", "anthropic": "tone-2", "groq": "tone-3", "google": "tone-4"}
_OTHER: Final = "tone-5"
_STATUSES: Final = (("failed", "tone-bad"), ("interrupted", "tone-mid"), ("stopped", "tone-5"))
_Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that ends now, in whole steps; `every_s` is how often its page asks anew."""

    name: str
    step_s: int
    steps: int
    format: str
    every_s: int

    def since(self, now: datetime) -> datetime:
        """When its first step began; the last one is the step that runs now."""
        step = int(now.timestamp()) // self.step_s
        return datetime.fromtimestamp((step - self.steps + 1) * self.step_s, UTC)

    def labels(self, since: datetime) -> tuple[str, ...]:
        """When each step began."""
        return tuple(f"{since + timedelta(seconds=self.step_s * step):{self.format}}" for step in range(self.steps))


WINDOWS: Final = {
    window.name: window
    for window in (
        Window("1h", 120, 30, "%H:%M", 5),
        Window("24h", 3600, 24, "%H:%M", 15),
        Window("30d", 86_400, 30, "%Y-%m-%d", 60),
    )
}
DEFAULT_WINDOW: Final = WINDOWS["24h"]


def window_of(request: web.Request) -> Window:
    """The window that the address names, else a day."""
    return WINDOWS.get(request.query.get("window", ""), DEFAULT_WINDOW)


async def overview(request: web.Request) -> web.Response:
    """The page, or with `?part=live` the part of it that changes."""
    services, window, language = request.app[SERVICES], window_of(request), language_of(request)
    now = datetime.now(UTC)
    since = window.since(now)
    counted: dict[str, Any] | None = None
    charts: list[Chart] = []
    try:
        counted, rows = await asyncio.gather(services.store.statistics(since), services.reports.timeline(since, window.step_s))
        charts = draw(window, since, rows, counted, language)
        if services.budgets is not None:
            await services.budgets.refreshed()
    except StoreUnavailable:
        # What this process knows by itself is worth showing all the more.
        pass
    return page(
        request,
        "live.html" if request.query.get("part") == "live" else "overview.html",
        window=window,
        windows=WINDOWS,
        now=now,
        since=since,
        counted=counted,
        charts=charts,
        state=_state(services),
    )


def draw(window: Window, since: datetime, rows: _Rows, counted: dict[str, Any], language: Language) -> list[Chart]:
    """The charts of what `Reports.timeline` gave."""
    frame = Frame(window.labels(since))
    whole = [row for row in rows if row["provider"] is None]
    first = counted["time_to_first_token_ms"]
    tokens = counted["tokens"]["input"] + counted["tokens"]["output"]
    troubles = [Series(language(name), tone, _column(window, whole, name)) for name, tone in _STATUSES]
    waits = [
        Series(language("median"), "tone-1", _column(window, whole, "first_p50_ms", None)),
        Series(language("95 of 100"), "tone-2", _column(window, whole, "first_p95_ms", None)),
    ]
    return [
        frame.stacked("turns", "Turns", number(counted["turns"]["total"]), _by_provider(window, rows, "turns"), number),
        frame.lines("first", "Time to first token", duration(first["p50"]), waits, duration),
        frame.stacked("tokens", "Tokens", compact(tokens), _by_provider(window, rows, "input_tokens", "output_tokens"), compact),
        frame.stacked("cost", "Cost", usd(counted["cost_usd"]), _by_provider(window, rows, "cost_usd"), usd),
        frame.stacked("trouble", "Turns that did not complete", number(_troubled(whole)), troubles, number),
    ]


def _by_provider(window: Window, rows: _Rows, *names: str) -> list[Series]:
    """A series for each provider; several columns are added up."""
    found = sorted({row["provider"] for row in rows if row["provider"] is not None})
    return [
        Series(name, TONES.get(name, _OTHER), _column(window, [row for row in rows if row["provider"] == name], *names))
        for name in found
    ]


def _column(window: Window, rows: _Rows, *names: str | None) -> list[float | None]:
    """One value a step; a last name of None tells that what is not there is unknown, not zero."""
    values: list[float | None] = [None if names[-1] is None else 0] * window.steps
    for row in rows:
        # A turn that ends while the page is made may be of a step that it does not show yet.
        if row["step"] < window.steps:
            known = [row[name] for name in names if name is not None]
            values[row["step"]] = None if None in known else sum(known)
    return values


def _troubled(whole: _Rows) -> int:
    return sum(row[name] for row in whole for name, _ in _STATUSES)


def _state(services: Services) -> dict[str, Any]:
    """How this process fares, without asking anybody."""
    health = services.router.health()
    return {
        "active_turns": services.engine.active,
        "active_streams": services.engine.readers,
        "spooled": services.health.spooled,
        "refused": services.health.refused,
        "database_up": services.health.database_up,
        "draining": services.engine.draining,
        "budgets": services.budgets,
        "providers": [
            {
                "name": name,
                "tone": TONES.get(name, _OTHER),
                "state": health[name].state,
                "models": target.models,
                "keys": health[name].keys,
            }
            for name, target in services.router.targets.items()
        ],
    }
