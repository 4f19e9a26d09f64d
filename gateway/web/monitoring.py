"""GET / and /health*: what monitoring reads."""

import asyncio
from typing import Final

from aiohttp import web

from gateway.core.errors import GatewayError
from gateway.core.jsontext import dumps
from gateway.store.base import StoreUnavailable
from gateway.web.connections import is_last
from gateway.web.services import SERVICES, Services

_PROMPTLY_S: Final = 2.0


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer that nobody caches."""
    return web.Response(body=dumps(body), status=status, content_type="application/json", headers={"Cache-Control": "no-store"})


async def root(request: web.Request) -> web.Response:
    """What this server is."""
    services = request.app[SERVICES]
    body: dict[str, object] = {
        "service": "m3ajem-gateway",
        "status": "running",
        "default_provider": services.router.default_provider,
        "providers": {
            name: {"configured": bool(target.keys), "model": target.default_model}
            for name, target in services.router.targets.items()
        },
        "version": services.version,
    }
    if services.simulated:
        body["simulated"] = True
        body["note"] = "No provider key is set: every reply comes from the built-in simulator."
    return json_response(body)


async def health(request: web.Request) -> web.Response:
    """Whether all is well; degraded still serves."""
    services = request.app[SERVICES]
    database = await _database(services)
    spooled, refused = services.health.spooled, services.health.refused
    providers = {name: found.state for name, found in services.router.health().items()}
    redis = None if services.shared is None else "up" if services.shared.link.up else "down"
    journal = "up" if services.health.journal_ok else "down"
    well = "down" not in (database, journal, redis, *providers.values())
    body: dict[str, object] = {
        "status": "healthy" if well and not spooled and not refused else "degraded",
        "database": database,
        "journal": journal,
        "spooled_turns": spooled,
        "refused_turns": refused,
        "providers": providers,
        "active_turns": services.engine.active,
        "version": services.version,
    }
    if redis is not None:
        body["redis"] = redis
    return json_response(body)


async def _database(services: Services) -> str:
    try:
        async with asyncio.timeout(_PROMPTLY_S):
            await services.store.ping()
    except (StoreUnavailable, TimeoutError):
        return "down"
    # One that answers and takes no turns (read-only, its disk full) is of no use either.
    return "up" if services.health.database_up else "down"


async def live(_: web.Request) -> web.Response:
    """The process runs."""
    return json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """Whether new requests should be sent here."""
    if request.app[SERVICES].engine.draining or is_last(request):
        raise GatewayError("shutting_down", "The server is finishing its last replies.", retry_after=5)
    return json_response({"status": "ready"})
