"""Runs one server process from start to drained end."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.app import build
from gateway.settings import Settings
from gateway.signals import RETIRE, Signals
from gateway.web.connections import Door, most_connections
from gateway.web.services import SERVICES

log = logging.getLogger(__name__)

_LAST_WORDS_S: Final = 0.4
_LAST_ANSWERS_S: Final = 1.0


async def serve(
    settings: Settings, database_url: str, listener: socket.socket, worker: str, ready: Callable[[], None], signals: Signals
) -> None:
    """Serve on `listener` until a signal; a second one ends the process at once (the journal has everything).

    Where processes share turns (REDIS_URL), the others take what comes from then on; this one answers all that came to it, and
    ends. One that is alone goes on listening while its turns finish, for those who read them. `worker` names this process among
    those that share a DATA_DIR; `ready` is called when connections are accepted.
    """
    stop = signals.watch()
    app = build(settings, database_url, worker)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_LAST_WORDS_S)
    try:
        if not await _set_up(runner, stop, signals):
            return
        door = Door(runner, listener, most_connections(), shared=settings.web_concurrency > 1)
        await door.start()
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        ready()
        await _until_told(stop, signals)
        log.info("draining: running turns have %g seconds to finish", settings.drain_s)
        patience = time.monotonic() + settings.drain_s
        services = app[SERVICES]
        if services.shared is not None:
            await door.retire(settings.drain_s)
            # Who hung up may be asking for the same turn elsewhere by now.
            await services.keys.settle(max(0.0, patience - time.monotonic()))
        await services.engine.drain(max(0.0, patience - time.monotonic()))
        await door.retire(_LAST_ANSWERS_S)
    finally:
        await runner.cleanup()


async def _until_told(stop: asyncio.Event, signals: Signals) -> None:
    """Return when this process is to end (`stop`), or to leave the work to others."""
    told = asyncio.Event()

    def end() -> None:
        stop.set()
        told.set()

    signals.on_stop = end
    asyncio.get_running_loop().add_signal_handler(RETIRE, told.set)
    if not stop.is_set():
        await told.wait()


async def _set_up(runner: web.AppRunner, stop: asyncio.Event, signals: Signals) -> bool:
    """Open everything; False when a signal came meanwhile, and nothing is left open."""
    if stop.is_set():
        return False
    try:
        async with asyncio.timeout(None) as patience:

            def give_up() -> None:
                stop.set()
                patience.reschedule(0)

            signals.on_stop = give_up
            await runner.setup()
    except TimeoutError:
        if not patience.expired():
            raise
    finally:
        signals.on_stop = stop.set
    return not stop.is_set()
