"""What the tests of what is kept in Redis share."""

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis."""
    with running_redis() as server:
        yield server
