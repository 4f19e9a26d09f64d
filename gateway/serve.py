"""Runs one server process from start to drained end."""

import asyncio
import gc
import logging
import os
import signal
import sys

from aiohttp import web

from gateway.app import build
from gateway.settings import Settings
from gateway.web.services import SERVICES

log = logging.getLogger(__name__)

_BACKLOG = 4096
_LAST_WORDS_S = 2.0


async def serve(settings: Settings, database_url: str) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once (the journal has everything).

    Raises `OSError` when the port is taken.
    """
    app = build(settings, database_url)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_LAST_WORDS_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=_BACKLOG)
        await site.start()
        stop = _on_signal()
        port = runner.addresses[0][1]
        print(f"Gateway ready at http://{_shown(settings.host)}:{port}", file=sys.stderr, flush=True)
        gc.collect()
        gc.freeze()
        await stop.wait()
        log.info("draining: running turns have %g seconds to finish", settings.drain_s)
        await app[SERVICES].engine.drain(settings.drain_s)
    finally:
        await runner.cleanup()


def _on_signal() -> asyncio.Event:
    stop = asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    return stop


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
