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
from gateway.web.connections import BACKLOG, Door, most_connections
from gateway.web.services import SERVICES

log = logging.getLogger(__name__)

_LAST_WORDS_S: Final = 0.4
_LAST_ANSWERS_S: Final = 1.0

_GONE_S: Final = 60
# Connections take these over from the socket that accepts them. What a client does not take is kept for it by the kernel, too:
# that is bounded, and a client that acknowledges nothing for a minute is gone (half-open connections say nothing by themselves).
_CONNECTION_OPTIONS: Final = [
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", _GONE_S),
            ("TCP_KEEPINTVL", _GONE_S // 4),
            ("TCP_KEEPCNT", 4),
            ("TCP_USER_TIMEOUT", _GONE_S * 1000),
        )
        if hasattr(socket, name)
    ),
]


def listen(settings: Settings) -> socket.socket:
    """Bind the server's address. Raises `OSError` naming the address that is taken.

    Whoever connects before it is ready waits. Where there may be others to ask (REDIS_URL), connections are refused until then.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((settings.host, settings.port))
        if settings.redis_url is None:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"{settings.host}:{settings.port}: {error.strerror or error}; see HOST and PORT") from None
    for level, option, value in _CONNECTION_OPTIONS:
        listener.setsockopt(level, option, value)
    return listener


def address(listener: socket.socket) -> str:
    """Where a listening socket is reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
