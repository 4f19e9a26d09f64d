"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from tests.access.redis_server import RedisServer, running_redis
from tests.processes import launch

__all__ = ["launch"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/faults --turns=1000` asks for more than a usual run has time for."""
    parser.addoption("--turns", type=int, default=None, help="how many turns are cut at random")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running_redis() as server:
        yield server
