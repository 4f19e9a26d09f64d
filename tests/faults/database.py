"""A PostgreSQL that is taken away: stopped, frozen, cut off, made read-only."""

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from gateway.store.dsn import parse_dsn
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.migrate import migrate

# Nothing that a kill of its processes would show is given up for speed.
KILLABLE = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "shared_buffers": "32MB"}
_TEMPLATE = "durable"


class Database:
    """A PostgreSQL server in `home`, with as many databases as tests ask for."""

    def __init__(self, home: Path, settings: dict[str, str]) -> None:
        self._home = home
        self._settings = settings
        self._server = EmbeddedPostgres(home, settings)
        self.admin_url = ""

    async def start(self) -> None:
        """Start it, with what it held before; it is at its old address."""
        self._server = EmbeddedPostgres(self._home, self._settings)
        self.admin_url = await asyncio.to_thread(self._server.start)

    async def stop(self) -> None:
        """Stop it: connections are cut and refused from then on."""
        await asyncio.to_thread(self._server.stop)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all of its processes, as a stalled disk or a paused machine would: connections open and nobody answers."""
        postmaster = psutil.Process(self.pid)
        postmaster.suspend()
        stopped = [*postmaster.children(recursive=True), postmaster]
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @property
    def pid(self) -> int:
        """The server's first process."""
        return int((self._home / "postgres" / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """Kill its first process; the others end by themselves, and it is started again where it is watched."""
        psutil.Process(self.pid).send_signal(signal.SIGKILL)

    async def prepare(self) -> None:
        """Make the schema that fresh databases are copied from."""
        await execute(self.admin_url, f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        await migrate(parse_dsn(self._url(_TEMPLATE)))

    async def fresh(self) -> str:
        """The address of a new database with an empty log."""
        name = f"log_{uuid.uuid4().hex}"
        await execute(self.admin_url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self._url(name)

    async def cut(self, url: str) -> None:
        """Cut every connection to a database."""
        statement = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'"
        await execute(self.admin_url, statement)

    def _url(self, name: str) -> str:
        return self.admin_url.replace("@/postgres?", f"@/{name}?")


def name_of(url: str) -> str:
    """The database that an address names."""
    return str(parse_dsn(url).arguments["database"])


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def rows(url: str, statement: str, *arguments: object) -> list[dict[str, Any]]:
    """What a query finds."""
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


class Wire:
    """A line to a database that breaks: while `breaks`, each connection after some thousand bytes, anywhere in a message."""

    def __init__(self, socket_path: str, chance: random.Random) -> None:
        self.breaks = False
        self.cuts = 0
        self._socket_path = socket_path
        self._chance = chance

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends or breaks."""
        there_reader, there_writer = await asyncio.open_unix_connection(self._socket_path)
        ends = (writer, there_writer)
        left = [self._chance.randrange(12_000)]
        ways = [
            asyncio.create_task(self._pass_on(source, target, left))
            for source, target in ((reader, there_writer), (there_reader, writer))
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in ends:
            end.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, left: list[int]) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                left[0] -= len(data)
                if self.breaks and left[0] <= 0:
                    self.cuts += 1
                    target.write(data[: left[0]])
                    await target.drain()
                    return
                target.write(data)
                await target.drain()


@asynccontextmanager
async def breaking(url: str, chance: random.Random) -> AsyncIterator[tuple[str, Wire]]:
    """The address of a breaking line to a database behind a unix socket, and the line."""
    folder = parse_dsn(url).arguments["host"][0]
    wire = Wire(f"{folder}/.s.PGSQL.5432", chance)
    listener = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name_of(url)}", wire
    finally:
        listener.close()
