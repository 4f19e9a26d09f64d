"""What a failed database call means for its caller.

PostgreSQL's five-character SQLSTATE decides (PostgreSQL documentation, "PostgreSQL Error Codes"); its first two characters
are the class.
"""

import asyncpg

from gateway.store.base import StoreRefused, StoreUnavailable

DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_REFUSED_CLASSES = ("21", "22", "23", "54")
_UNKNOWN_STATEMENT = ("26000", "42P05")
_MISSING_SCHEMA = ("42P01", "42703", "42883", "42P10")
_LOST_RACE = ("40001", "40P01")
_OUTAGES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
_CANCELED = "57014"
_NO_CONNECTIONS = ("53300", "57P03")
_LOST_CONNECTION = ("57P01", "57P02", "57P05", "08000", "08003", "08006")


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE the server gave, or an empty string."""
    return str(getattr(error, "sqlstate", None) or "")


def is_refusal(error: BaseException) -> bool:
    """Whether the data itself is at fault: out of range, malformed, against a constraint, over a limit."""
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)  # an argument that does not fit its column's type
    return sqlstate(error)[:2] in _REFUSED_CLASSES


def is_unknown_statement(error: BaseException) -> bool:
    """Whether a prepared statement's name was unknown or taken: a pooler gave each transaction another connection."""
    return sqlstate(error) in _UNKNOWN_STATEMENT


def is_missing_schema(error: BaseException) -> bool:
    """Whether a table, column, index or function of ours is missing: the database is empty or an older one."""
    return sqlstate(error) in _MISSING_SCHEMA


def is_transient(error: BaseException) -> bool:
    """Whether the very same call may succeed at once on a new connection: the old one had died (asyncpg calls it an internal
    error when the server's farewell meets a statement), or lost a race."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    died = isinstance(error, (ConnectionError, asyncpg.InternalClientError))
    return died or sqlstate(error) in (*_LOST_RACE, *_LOST_CONNECTION)


def is_doubtful(error: BaseException) -> bool:
    """Whether a `StoreUnavailable` (or running out of time) may be one turn's own fault: the server failed at this statement,
    or did not come to its end, in a way that says nothing about others."""
    cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
    if isinstance(cause, TimeoutError) or (cause is not None and sqlstate(cause) == _CANCELED):
        return True
    return isinstance(cause, asyncpg.PostgresError) and sqlstate(cause)[:2] not in _OUTAGES and not is_missing_schema(cause)


def turns_away(error: BaseException) -> bool:
    """Whether the server takes no connections at all now: it is not there, is just starting or ending, or is full."""
    return isinstance(error, (ConnectionRefusedError, FileNotFoundError)) or sqlstate(error) in _NO_CONNECTIONS


def translated(error: Exception) -> Exception:
    """The error for the store's caller; one that stands for a defect of ours comes back as it is."""
    if is_refusal(error):
        return StoreRefused(_sentence("the database refuses the data", error))
    if isinstance(error, DATABASE_ERRORS):
        return StoreUnavailable(_sentence("the database cannot serve now", error))
    return error


def _sentence(what: str, error: BaseException) -> str:
    """Codes and types only: a server's message may quote the row."""
    return f"{what}: {' '.join((type(error).__name__, sqlstate(error))).strip()}"
