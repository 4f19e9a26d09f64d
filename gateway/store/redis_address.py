"""What REDIS_URL says. redis-py reads it, whose import is a tenth of a start: only those who have a Redis pay for it."""

import ssl
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is (a socket's `path`, or else a host, by TLS where there is a context), as whom, and which database."""

    path: str | None
    host: str
    port: int
    tls: ssl.SSLContext | None
    username: str | None
    password: str | None
    client_name: str | None
    database: int


def read_address(url: str) -> RedisAddress:
    """What an address means. Raises `ValueError` for one that is none."""
    from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
    from redis.exceptions import RedisError

    options: dict[str, Any] = {**parse_url(url)}
    kind = options.pop("connection_class", Connection)
    try:
        told = kind(**options)
        tls = told.ssl_context.get() if isinstance(told, SSLConnection) else None
    except (TypeError, RedisError, OSError) as error:
        raise ValueError("an option that is none") from error
    by_path = isinstance(told, UnixDomainSocketConnection)
    return RedisAddress(
        path=told.path if by_path else None,
        host="" if by_path else told.host,
        port=0 if by_path else told.port,
        tls=tls,
        username=told.username,
        password=told.password,
        client_name=told.client_name,
        database=told.db,
    )
