"""DATABASE_URL in the forms that hosts hand out."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.dsn import parse_dsn
from gateway.store.migrate import migrate


def parts(url: str) -> dict[str, Any]:
    return parse_dsn(url).arguments


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/db", {"user": "u", "password": "p", "host": ["h"], "port": [5432], "database": "db"}),
        ("postgresql://u:p@h:6543/db", {"user": "u", "password": "p", "host": ["h"], "port": [6543], "database": "db"}),
        ("POSTGRESQL://h/db", {"host": ["h"], "port": [5432], "database": "db"}),
        ("postgresql+asyncpg://u@h/db", {"user": "u", "host": ["h"], "port": [5432], "database": "db"}),
        ("postgresql+psycopg2://u@h", {"user": "u", "host": ["h"], "port": [5432]}),
        ("postgresql://", {}),
        ("postgresql:///db", {"database": "db"}),
        ("postgresql:///db?host=/run/postgresql", {"host": ["/run/postgresql"], "port": [5432], "database": "db"}),
        (
            "postgresql://u:p@/db?host=/cloudsql/a:europe-west1:b&port=5433",
            {"user": "u", "password": "p", "host": ["/cloudsql/a:europe-west1:b"], "port": [5433], "database": "db"},
        ),
        ("postgresql://u@%2Fvar%2Frun:5433/db", {"user": "u", "host": ["/var/run"], "port": [5433], "database": "db"}),
        ("postgresql://u@[2001:db8::1]:5433/db", {"user": "u", "host": ["2001:db8::1"], "port": [5433], "database": "db"}),
        ("postgresql://u@a:1,b/db", {"user": "u", "host": ["a", "b"], "port": [1, 5432], "database": "db"}),
        (
            "postgresql://u@a,b/db?target_session_attrs=read-write",
            {"user": "u", "host": ["a", "b"], "port": [5432, 5432], "database": "db", "target_session_attrs": "read-write"},
        ),
        ("postgresql://h/db?user=u&password=p", {"user": "u", "password": "p", "host": ["h"], "port": [5432], "database": "db"}),
        (
            "postgresql://h:5432/db?user=u@tenant&application_name=a@b",
            {
                "user": "u@tenant",
                "host": ["h"],
                "port": [5432],
                "database": "db",
                "server_settings": {"application_name": "a@b"},
            },
        ),
        (
            "postgresql://u@h/db?application_name=%D9%82%D8%A7%D9%85%D9%88%D8%B3&options=-c%20search_path%3Da",
            {
                "user": "u",
                "host": ["h"],
                "port": [5432],
                "database": "db",
                "server_settings": {"application_name": "قاموس", "options": "-c search_path=a"},
            },
        ),
    ],
)
def test_where_and_as_whom(url: str, expected: dict[str, Any]) -> None:
    assert parts(url) == expected


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p%40ss%2Fw%3Ard%20%25", "p@ss/w:rd %"),
        ("p@ss", "p@ss"),
        ("pa/ss", "pa/ss"),
        ("pa#ss", "pa#ss"),
        ("pa?ss", "pa?ss"),
        ("a:b:c", "a:b:c"),
        ("a+b", "a+b"),
        ("%D9%85%D9%81%D8%AA%D8%A7%D8%AD", "مفتاح"),
        ("مفتاح", "مفتاح"),
    ],
)
def test_passwords_encoded_or_not(written: str, password: str) -> None:
    for tail in ("db", "db?sslmode=disable"):
        found = parts(f"postgres://user%40tenant:{written}@host.example:5433/{tail}")
        assert (found["user"], found["password"]) == ("user@tenant", password)
        assert (found["host"], found["port"], found["database"]) == (["host.example"], [5433], "db")


@pytest.mark.parametrize(
    "parameter", ["connect_timeout=10", "channel_binding=require", "schema=public", "keepalives=1", "x=", "gssencmode=disable"]
)
def test_parameters_that_only_others_know_are_left_out(parameter: str) -> None:
    assert parts(f"postgresql://u@h/db?{parameter}") == parts("postgresql://u@h/db")


def test_encryption() -> None:
    def context(parameters: str) -> ssl.SSLContext:
        found = parts(f"postgresql://u@h/db?{parameters}")["ssl"]
        assert isinstance(found, ssl.SSLContext)
        return found

    assert "ssl" not in parts("postgresql://u@h/db")
    assert parts("postgresql://u@h/db?sslmode=disable")["ssl"] is False
    assert parts("postgresql://u@h/db?sslmode=prefer")["ssl"] == "prefer"
    assert parts("postgresql://u@h/db?ssl=false")["ssl"] is False
    for required in ("sslmode=require", "ssl=true", "ssl=require"):
        assert context(required).verify_mode == ssl.CERT_NONE
    assert (context("sslmode=verify-ca").verify_mode, context("sslmode=verify-ca").check_hostname) == (ssl.CERT_REQUIRED, False)
    for full in ("sslmode=verify-full", "sslmode=verify-full&sslrootcert=system"):
        assert (context(full).verify_mode, context(full).check_hostname) == (ssl.CERT_REQUIRED, True)
    assert "ssl" not in parts("postgresql:///db?host=/run/x&sslmode=require"), "a unix socket is not encrypted"


def test_poolers_can_be_named() -> None:
    assert parse_dsn("postgresql://u@h/db").statement_cache
    assert not parse_dsn("postgresql://u@h/db?pgbouncer=true").statement_cache
    assert parse_dsn("postgresql://u@h/db?pgbouncer=false").statement_cache


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:geheim@h/db",
        "u:geheim@h/db",
        "postgresql://u:geheim@h:port/db",
        "postgresql://u:geheim@h:99999/db",
        "postgresql://u:geheim@h/db?sslmode=maybe",
        "postgresql://u:geheim@h/db?target_session_attrs=none",
        "postgresql://u:geheim@h/db?sslmode=verify-full&sslrootcert=/nonexistent.pem",
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        parse_dsn(url)
    assert "geheim" not in str(caught.value)


def test_a_printed_address_hides_the_password() -> None:
    assert "geheim" not in repr(parse_dsn("postgresql://u:geheim@h/db"))


@given(st.text())
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"postgresql://u:p@h/db?{text}"):
        with suppress(ValueError):
            parse_dsn(url)


async def test_a_real_server_takes_every_argument(database_url: str, tmp_path: Path) -> None:
    address = database_url.replace("?", "?application_name=x&sslmode=prefer&target_session_attrs=read-write&connect_timeout=3&")
    assert await migrate(parse_dsn(address)) == []
