"""A connection pooler in transaction mode, as PgBouncer is by default: each transaction gets the next of its connections.

Message formats are from the PostgreSQL documentation, "Frontend/Backend Protocol".
"""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_SSL_REQUEST = 80_877_103
_VERSION_3 = 196_608


class _Server:
    """One connection to PostgreSQL; `greeting` is what it told at the start."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""

    async def log_in(self, database: str) -> None:
        body = struct.pack("!i", _VERSION_3) + b"user\0postgres\0database\0" + database.encode() + b"\0\0"
        self.writer.write(struct.pack("!i", len(body) + 4) + body)
        while True:
            kind, message = await read_message(self.reader)
            self.greeting += message
            if kind == b"Z":
                return


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next message: its kind, and all of its bytes."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


class Pooler:
    """`transactions` counts those it has passed on."""

    def __init__(self, servers: list[_Server]) -> None:
        self._free = deque(servers)
        self._freed = asyncio.Condition()
        self.transactions = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first byte to its last."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, code = struct.unpack("!ii", await reader.readexactly(8))
                rest = await reader.readexactly(length - 8)
                if code == _VERSION_3 and rest:
                    break
                assert code == _SSL_REQUEST
                writer.write(b"N")
            writer.write(self._free[0].greeting)
            while True:
                await self._transaction(reader, writer)
        writer.close()

    async def _transaction(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, message = await read_message(reader)
        if kind == b"X":
            raise asyncio.IncompleteReadError(b"", None)
        async with self._freed:
            await self._freed.wait_for(lambda: self._free)
            server = self._free.popleft()
        self.transactions += 1
        forwarding = asyncio.create_task(self._forward(message, reader, server))
        try:
            while True:
                kind, answer = await read_message(server.reader)
                writer.write(answer)
                if kind == b"Z" and answer[-1:] == b"I":
                    break
        finally:
            forwarding.cancel()
            with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                await forwarding
            async with self._freed:
                self._free.append(server)
                self._freed.notify()

    async def _forward(self, message: bytes, reader: asyncio.StreamReader, server: _Server) -> None:
        server.writer.write(message)
        while True:
            # Cancelled between messages only: a client that waits for an answer sends nothing.
            _, message = await read_message(reader)
            server.writer.write(message)


@asynccontextmanager
async def pooled(socket_path: str, database: str, size: int = 3) -> AsyncIterator[tuple[str, Pooler]]:
    """The address of a pooler before a database behind a unix socket, and the pooler."""
    servers = [_Server(*await asyncio.open_unix_connection(socket_path)) for _ in range(size)]
    for server in servers:
        await server.log_in(database)
    pooler = Pooler(servers)
    listener = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}", pooler
    finally:
        listener.close()
        for server in servers:
            server.writer.close()
