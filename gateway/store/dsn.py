"""DATABASE_URL, in the forms that hosts hand out, as arguments for asyncpg.

libpq's URI form (PostgreSQL documentation, "Connection URIs") and its near relatives: other libraries' scheme suffixes,
parameters that only they know (ignored), passwords whose special characters nobody encoded.
"""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_CUT_PASSWORD = re.compile(r"[^/:]*:(?!\d+(?:/|$))")  # user:pass, where a host would have :port
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TRUE = ("1", "true", "yes", "on")
_DEFAULT_PORT = 5432
_SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where and how to connect. `arguments` are asyncpg's; with `statement_cache` off no statement is given a name."""

    arguments: dict[str, Any] = field(repr=False)
    statement_cache: bool = True


def parse_dsn(url: str) -> Dsn:
    """Read a DATABASE_URL. Raises `ValueError` with one plain sentence that never holds the password."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("takes an address such as postgresql://user:password@host:5432/database")
    userinfo, hosts, database, parameters = _split(url[scheme.end() :])
    user, _, password = userinfo.partition(":")
    hosts = parameters.get("host", hosts)
    arguments: dict[str, Any] = {
        "user": unquote(user) or parameters.get("user"),
        "password": unquote(password) or parameters.get("password"),
        "database": unquote(database) or parameters.get("dbname") or parameters.get("database"),
        "ssl": _ssl(parameters, hosts),
        "server_settings": {name: parameters[name] for name in ("application_name", "options") if parameters.get(name)},
        "target_session_attrs": _session_attributes(parameters),
        "passfile": parameters.get("passfile"),
    }
    if hosts:
        names, ports = _hosts(hosts, parameters.get("port", ""))
        arguments |= {"host": names, "port": ports}
    elif parameters.get("port"):
        arguments["port"] = _port(parameters["port"])
    given = {name: value for name, value in arguments.items() if value not in (None, "", {})}
    return Dsn(given, statement_cache=parameters.get("pgbouncer", "").lower() not in _TRUE)


def _split(rest: str) -> tuple[str, str, str, dict[str, str]]:
    """User info, hosts, database and parameters. The last @ before the parameters ends the user info, so that a password
    may hold @, / or ? unencoded; a # begins no fragment."""
    address, mark, query = rest.partition("?")
    if mark and "@" in query and "@" not in address and _CUT_PASSWORD.match(address):
        head, _, tail = rest.rpartition("@")
        address, _, query = tail.partition("?")
        address = f"{head}@{address}"
    userinfo, _, location = address.rpartition("@")
    hosts, _, database = location.partition("/")
    parameters = {name.lower(): value for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)}
    return userinfo, hosts, database, parameters


def _hosts(hosts: str, ports: str) -> tuple[list[str], list[int]]:
    """One or several hosts: names, IPv4, IPv6 in brackets, or directories of a unix socket (encoded, or as a parameter)."""
    given = ports.split(",") if ports else []
    names: list[str] = []
    numbers: list[int] = []
    for index, part in enumerate(hosts.split(",")):
        port = given[min(index, len(given) - 1)] if given else ""
        if part.startswith("/"):
            name = part
        elif part.startswith("["):
            name, _, behind = part[1:].partition("]")
            port = behind.removeprefix(":") or port
        else:
            name, _, behind = part.partition(":")
            port = behind or port
        names.append(unquote(name) or "localhost")
        numbers.append(_port(port))
    return names, numbers


def _port(text: str) -> int:
    if not text:
        return _DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)


def _session_attributes(parameters: dict[str, str]) -> str | None:
    wanted = parameters.get("target_session_attrs")
    if wanted and wanted not in _SESSION_ATTRIBUTES:
        raise ValueError(f"target_session_attrs takes one of {', '.join(_SESSION_ATTRIBUTES)}")
    return wanted


def _ssl(parameters: dict[str, str], hosts: str) -> ssl.SSLContext | str | bool | None:
    """libpq's sslmode (PostgreSQL documentation, "SSL Support"): `require` encrypts without asking who answers, unless a
    root certificate is named. Without `sslrootcert`, `verify-*` trusts the system's authorities."""
    mode = parameters.get("sslmode") or {"true": "require", "false": "disable"}.get(
        parameters.get("ssl", ""), parameters.get("ssl", "")
    )
    if not mode or hosts.startswith("/") or hosts.lower().startswith("%2f"):
        return None
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode takes one of {', '.join(_SSL_MODES)}")
    if mode == "disable":
        return False
    if mode in ("allow", "prefer"):
        return mode
    return _context(mode, parameters)


def _context(mode: str, parameters: dict[str, str]) -> ssl.SSLContext:
    root = parameters.get("sslrootcert", "")
    named = root not in ("", "system")
    try:
        context = ssl.create_default_context(cafile=str(Path(root).expanduser()) if named else None)
        context.check_hostname = mode == "verify-full"
        if mode == "require" and not named:
            context.verify_mode = ssl.CERT_NONE
        if parameters.get("sslcert"):
            context.load_cert_chain(parameters["sslcert"], parameters.get("sslkey"))
    except OSError as error:
        raise ValueError(f"a certificate file of the address cannot be read: {error.strerror or error}") from None
    return context
