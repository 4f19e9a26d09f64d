"""A server that closed a connection while it was idle, and a client that has not been told yet."""

import socket
import threading
from collections.abc import Iterator

import aiohttp
import pytest

from gateway.engine.connector import Connector
from gateway.engine.upstream import Timeouts, open_session

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Hasty:
    """A server in a thread of its own: it keeps connections open until it is told to close them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.requests = 0
        self.accepted: list[socket.socket] = []
        self._idle: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._served: list[threading.Thread] = []
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(connection)
            self._idle.append(connection)
            self._served.append(threading.Thread(target=self._serve, args=(connection,)))
            self._served[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while connection.recv(65_536):
                self.requests += 1
                connection.sendall(ANSWER)
        except OSError:
            pass

    def close_idle(self, *, words: bytes = b"") -> None:
        """End every connection; when this returns, the ends (and last words) are at the client's side."""
        while self._idle:
            connection = self._idle.pop()
            if words:
                connection.sendall(words)
            else:
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop serving."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.accepted:
            connection.close()
        for thread in self._served:
            thread.join(1)


@pytest.fixture
def server() -> Iterator[Hasty]:
    running = Hasty()
    yield running
    running.close()


async def post(session: aiohttp.ClientSession, server: Hasty) -> None:
    async with session.post(server.url, data=b"{}") as response:
        assert await response.read() == b"{}"


async def test_connections_are_used_again(server: Hasty) -> None:
    async with open_session(Timeouts(5, 5, 5)) as session:
        for _ in range(3):
            await post(session, server)
    assert (server.requests, len(server.accepted)) == (3, 1)


async def test_a_connection_that_ended_while_idle_is_not_used(server: Hasty) -> None:
    async with open_session(Timeouts(5, 5, 5)) as session:
        assert isinstance(session.connector, Connector)
        for times in range(1, 4):
            await post(session, server)
            # No turn of the event loop between the end and the next request: nobody can have noticed.
            server.close_idle()
            assert len(server.accepted) == times
        await post(session, server)
    assert (server.requests, len(server.accepted)) == (4, 4)


async def test_nor_one_on_which_something_came_unasked(server: Hasty) -> None:
    async with open_session(Timeouts(5, 5, 5)) as session:
        await post(session, server)
        server.close_idle(words=b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await post(session, server)
    assert len(server.accepted) == 2


async def test_several_dead_ones_are_no_more_trouble_than_one(server: Hasty) -> None:
    async with open_session(Timeouts(5, 5, 5)) as session:
        responses = [await session.post(server.url, data=b"{}") for _ in range(3)]
        for response in responses:
            await response.read()
        server.close_idle()
        await post(session, server)
    assert server.requests == 4
