"""Fixtures of this room: gateways in processes of their own, and a Redis for those with several workers."""

from collections.abc import Iterator

import pytest

from tests.access.redis_server import RedisServer, running_redis
from tests.processes import launch

__all__ = ["launch"]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running_redis() as server:
        yield server
