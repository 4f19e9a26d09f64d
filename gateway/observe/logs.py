"""Logging to stderr, as lines for people or JSON for machines; never a key, and no message text above debug level."""

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from textwrap import indent
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import quote, quote_plus

from gateway.core.jsontext import dumps_text

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SHORTEST_SECRET: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Redactor:
    """Replaces every known secret in a text, also as addresses, JSON and Python spell it."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
        known = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        return self._pattern.sub("[secret]", text) if self._pattern else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        cleaned = {name: self._redactor.clean(value) if isinstance(value, str) else value for name, value in body.items()}
        return _CONTROL.sub(_escaped, dumps_text(cleaned))


class ConsoleFormatter(logging.Formatter):
    """One readable line; extras as key=value."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = _CONTROL.sub(" ", self._redactor.clean(f"{moment} {record.levelname:<7} {record.getMessage()}{extras}"))
        if record.exc_info:
            # Set in, so that no text inside can pass for a line of its own.
            told = self._redactor.clean(self.formatException(record.exc_info))
            line += "\n" + indent("\n".join(_CONTROL.sub(" ", part) for part in told.split("\n")), "    ", lambda _: True)
        return line


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD}


def _forms(secret: str) -> set[str]:
    spelled = {quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], dumps_text(secret)[1:-1], json.dumps(secret)[1:-1]}
    return {secret, *spelled}


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def set_up(level: str, form: Literal["console", "json"], secrets: tuple[str, ...]) -> None:
    """Send all logging to stderr; libraries only from warnings on."""
    redactor = Redactor(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(redactor) if form == "json" else ConsoleFormatter(redactor))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("gateway", "simulator"):
        logging.getLogger(name).setLevel(level)
    # What nobody caught would otherwise be printed as it is.
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("gateway").critical("the server failed", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    error = told.exc_value or told.exc_type()
    logging.getLogger("gateway").critical("a thread failed", exc_info=(told.exc_type, error, told.exc_traceback))
