"""Whoever connects before the server is ready."""

import socket

import pytest

from gateway.listener import address, listen
from gateway.settings import load

NO_DATABASE = {"HOST": "127.0.0.1", "PORT": "0"}


def test_waits_for_a_server_that_is_the_only_one() -> None:
    with listen(load(NO_DATABASE, None)) as listener, socket.create_connection(listener.getsockname(), 10):
        pass


def test_is_refused_where_another_one_can_be_asked() -> None:
    with listen(load(NO_DATABASE | {"REDIS_URL": "redis://127.0.0.1:1"}, None)) as listener:
        assert address(listener).startswith("http://127.0.0.1:")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname(), 10)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_is_named(host: str) -> None:
    with listen(load(NO_DATABASE | {"HOST": host}, None)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"{host}:{port}: .*; see HOST and PORT"):
            listen(load({"HOST": host, "PORT": str(port)}, None))
