"""Log lines: one record a line (a traceback is set in), whatever text is in it, and no secret in any spelling."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any, Literal
from urllib.parse import quote, quote_plus

import pytest

from gateway.observe import logs
from gateway.settings import load

FORGED = 'سلام\n12:00:00 ERROR   all is lost\r\n\x1b[31m{"level":"ERROR"}\u2028\x85\x00'
SECRETS = ('sk-"quoted"\\and/slashed', "كلمة-السر-٧٧", "plain-secret-12345", "a b&c=d#e%f")


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    before = root.handlers, root.level, sys.excepthook, threading.excepthook
    yield
    root.handlers, sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])
    for name in ("gateway", "simulator"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def written(restored: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set logging up; returns the stream that it goes to."""

    def set_up(form: Literal["console", "json"], *secrets: str) -> StringIO:
        stream = StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.set_up("DEBUG", form, secrets)
        return stream

    return set_up


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_text_makes_a_line_of_its_own(written: Any, form: Literal["console", "json"]) -> None:
    stream = written(form)
    logging.getLogger("gateway.web").warning("said: %s", FORGED, extra={"request_id": FORGED})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_tracebacks_are_set_in(written: Any) -> None:
    stream = written("console")
    try:
        fail(FORGED)
    except ValueError:
        logging.getLogger("gateway").exception("it broke")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("it broke")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_json_lines_are_json(written: Any) -> None:
    stream = written("json", *SECRETS)
    try:
        fail(FORGED + SECRETS[0])
    except ValueError:
        logging.getLogger("gateway").exception("it broke: %s", SECRETS[0], extra={"turn_id": FORGED, "other": {SECRETS[1]: 1}})
    [line] = stream.getvalue().splitlines()
    body = json.loads(line)
    assert body["message"] == "it broke: [secret]"
    assert body["turn_id"] == FORGED
    assert "ValueError" in body["traceback"]


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_replaced_in_every_spelling(written: Any, form: Literal["console", "json"], secret: str) -> None:
    stream = written(form, *SECRETS)
    logger = logging.getLogger("gateway")
    forms = [secret, repr(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret, safe="")]
    forms.append(quote_plus(secret))
    for spelled in forms:
        logger.debug("it is %s", spelled, extra={"value": spelled, "object": {"key": spelled}})
        try:
            fail(spelled)
        except ValueError:
            logger.exception("failed")
    told = stream.getvalue()
    assert told.count("[secret]") >= 3 * len(forms)
    for spelled in forms:
        assert spelled.strip("\"'") not in told


def test_what_nobody_catches_is_logged_without_secrets(written: Any) -> None:
    stream = written("console", *SECRETS)
    try:
        fail(f"uncaught {SECRETS[2]}")
    except ValueError:
        sys.excepthook(*sys.exc_info())
    thread = threading.Thread(target=fail, args=(f"in a thread {SECRETS[2]}",))
    thread.start()
    thread.join()
    told = stream.getvalue()
    assert "uncaught [secret]" in told
    assert "in a thread [secret]" in told
    assert SECRETS[2] not in told


def test_passwords_of_addresses_are_secrets() -> None:
    settings = load(
        {
            "DATABASE_URL": "postgres://user:p%40ss-w0rd/1?x@db.example/name?sslpassword=key-pa55",
            "REDIS_URL": "redis://:red1s%21pass@cache.example:6379/0",
            "API_KEYS": "app:key-of-the-app,other:other-key",
            "GOOGLE_API_KEY": "g1,g2",
        },
        env_file=None,
    )
    expected = {"p%40ss-w0rd/1?x", "p@ss-w0rd/1?x", "key-pa55", "red1s%21pass", "red1s!pass", "key-of-the-app", "g2"}
    assert expected <= set(settings.secrets)
    told = logs.Redactor(settings.secrets).clean("no route to postgres://user:p@ss-w0rd/1?x@db.example; red1s!pass refused")
    assert "p@ss" not in told
    assert "red1s" not in told
