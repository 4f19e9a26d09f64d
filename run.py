#!/usr/bin/env python3
"""Starts the gateway: settings from the environment and `.env`, a few flags, one line when it is ready."""

import argparse
import os
import sys

import uvloop
from gateway.store.embedded import EmbeddedError, EmbeddedPostgres

from gateway import __version__
from gateway.observe import logs
from gateway.serve import serve
from gateway.settings import Settings, SettingsError, load


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit status is 0 after a clean end, 2 when it could not start."""
    flags = _flags().parse_args(arguments)
    given = {name.upper(): value for name, value in vars(flags).items() if value is not None}
    try:
        settings = load({**os.environ, **given})
        logs.set_up(settings.log_level, settings.log_format, settings.secrets)
        _run(settings)
    except (SettingsError, EmbeddedError, OSError) as error:
        print(f"gateway: cannot start: {error}", file=sys.stderr)
        return 2
    return 0


def _run(settings: Settings) -> None:
    if settings.database_url is not None:
        uvloop.run(serve(settings, settings.database_url.get_secret_value()))
        return
    database = EmbeddedPostgres(settings.data_dir)
    try:
        uvloop.run(serve(settings, database.start()))
    finally:
        database.stop()


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
    return parser


if __name__ == "__main__":
    sys.exit(main())
