#!/usr/bin/env python3
"""Starts the gateway: settings from the environment and `.env`, a few flags, one line when it is ready."""

import argparse
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack

import uvloop
from gateway.store.embedded import EmbeddedError, EmbeddedPostgres

from gateway import __version__
from gateway.observe import logs
from gateway.serve import address, listen, serve
from gateway.settings import Settings, SettingsError, load
from gateway.store.folder import FolderInUse, lock_folder
from gateway.supervisor import Supervisor, WorkerFailed


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit status is 0 after a clean end, 2 when it could not start."""
    flags = _flags().parse_args(arguments)
    given = {name: getattr(flags, name.lower()) for name in ("HOST", "PORT", "DATA_DIR")}
    try:
        settings = load({**os.environ, **{name: value for name, value in given.items() if value is not None}})
        logs.set_up(settings.log_level, settings.log_format, settings.secrets)
        if flags.worker is None:
            _run(settings)
        else:
            _work(settings, flags.worker, socket.socket(fileno=flags.socket), _tell(flags.ready))
    except (SettingsError, EmbeddedError, FolderInUse, WorkerFailed, OSError) as error:
        print(f"gateway: cannot start: {error}", file=sys.stderr)
        return 2
    return 0


def _run(settings: Settings) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        stack.enter_context(lock_folder(settings.data_dir))
        if settings.database_url is not None:
            database_url = settings.database_url.get_secret_value()
        else:
            database = EmbeddedPostgres(settings.data_dir)
            stack.callback(database.stop)
            database_url = database.start()

        def ready() -> None:
            print(f"Gateway ready at {address(listener)}", file=sys.stderr, flush=True)

        if settings.web_concurrency == 1:
            uvloop.run(serve(settings, database_url, listener, "0", ready))
        else:
            uvloop.run(Supervisor(settings, database_url, listener).run(ready))


def _work(settings: Settings, worker: str, listener: socket.socket, ready: Callable[[], None]) -> None:
    assert settings.database_url is not None, "the parent process always names the database"
    uvloop.run(serve(settings, settings.database_url.get_secret_value(), listener, worker, ready))


def _tell(descriptor: int) -> Callable[[], None]:
    def ready() -> None:
        os.write(descriptor, b"1")
        os.close(descriptor)

    return ready


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
    parser.add_argument("--ready", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
