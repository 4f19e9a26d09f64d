#!/usr/bin/env python3
"""Starts the gateway: settings from the environment and `.env`, a few flags, one line when it is ready."""

import argparse
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module

import uvloop

from gateway import __version__
from gateway.listener import address, listen
from gateway.observe import logs
from gateway.observe.otel import TelemetryError
from gateway.settings import Settings, SettingsError, for_libraries, load
from gateway.signals import Signals
from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedError, EmbeddedPostgres
from gateway.store.folder import FolderInUse, lock_folder
from gateway.store.journal_disk import JournalBroken
from gateway.store.migrate import MigrationError
from gateway.supervisor import Supervisor, WorkerFailed, tied

_FORESEEN = (SettingsError, EmbeddedError, FolderInUse, JournalBroken, MigrationError, TelemetryError, WorkerFailed, OSError)


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit status is 0 after a clean end, 2 when it could not start, 1 when it broke or was made to end."""
    flags = _flags().parse_args(arguments)
    given = {name: getattr(flags, name.lower()) for name in ("HOST", "PORT", "DATA_DIR")}
    signals = Signals()
    signals.hold()
    try:
        os.environ.update(for_libraries())
        settings = load({**os.environ, **{name: value for name, value in given.items() if value is not None}})
        logs.set_up(settings.log_level, settings.log_format, settings.secrets)
        if flags.worker is None:
            _run(settings, signals)
        else:
            _work(settings, flags.worker, socket.socket(fileno=flags.socket), tied(flags.lifeline), signals)
    except _FORESEEN as error:
        if signals.stopping:
            return 0
        print(f"gateway: cannot start: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception:
        logging.getLogger("gateway").critical("the server failed by an error nobody foresaw", exc_info=True)
        return 1
    return 0


def _run(settings: Settings, signals: Signals) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        stack.enter_context(lock_folder(settings.data_dir))
        alone = settings.web_concurrency == 1
        if alone:
            # Most of a start is this import; it needs no more time where a database is started meanwhile.
            threading.Thread(target=import_module, args=("gateway.serve",)).start()
        database_url = _database_url(settings) or _own_database(settings, signals, stack)
        # Between the event loop's end and the database's, too.
        stack.callback(signals.hold)

        def ready() -> None:
            print(f"Gateway ready at {address(listener)}", file=sys.stderr, flush=True)

        if alone:
            _serve(settings, database_url, listener, "0", ready, signals)
        else:
            uvloop.run(Supervisor(settings, database_url, listener).run(ready, signals))


def _work(settings: Settings, worker: str, listener: socket.socket, ready: Callable[[], None], signals: Signals) -> None:
    database_url = _database_url(settings)
    assert database_url is not None, "the parent process always names the database"
    _serve(settings, database_url, listener, worker, ready, signals)


def _serve(
    settings: Settings, database_url: str, listener: socket.socket, worker: str, ready: Callable[[], None], signals: Signals
) -> None:
    from gateway.serve import serve  # a parent of workers does without all of this

    uvloop.run(serve(settings, database_url, listener, worker, ready, signals))


def _database_url(settings: Settings) -> str | None:
    if settings.database_url is None:
        return None
    url = settings.database_url.get_secret_value()
    try:
        parse_dsn(url)
    except ValueError as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None
    return url


def _own_database(settings: Settings, signals: Signals, stack: ExitStack) -> str:
    """Start the embedded PostgreSQL; it is stopped, whatever happens."""
    database = EmbeddedPostgres(settings.data_dir)
    stack.callback(database.stop)
    signals.on_stop = database.give_up
    signals.last_words = database.abandon
    return database.start()


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="A chat gateway between an app and OpenAI, Anthropic, Groq and Google Gemini.",
        epilog="Every other setting comes from the environment or from .env; .env.example names them all.",
    )
    parser.add_argument("--host", help="address to listen on (HOST)")
    parser.add_argument("--port", help="port to listen on, 0 for any free one (PORT)")
    parser.add_argument("--data-dir", help="where the journal and the embedded database live (DATA_DIR)")
    parser.add_argument("--version", action="version", version=__version__)
    # How the parent process starts its workers.
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
