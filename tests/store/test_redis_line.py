"""Many questions on one connection to a real Redis: each gets its own replies, or hears soon that there will be none."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.store.base import RelayUnavailable
from gateway.store.redis_line import RedisLine, RedisRefusal
from tests.engine.certificates import trusted_server
from tests.redis_server import RedisServer, running_redis

ANSWER_S = 5.0


@asynccontextmanager
async def opened(url: str, answer_s: float = ANSWER_S) -> AsyncIterator[RedisLine]:
    line = RedisLine(url, answer_s)
    try:
        yield line
    finally:
        await line.close()


@pytest.fixture
async def line(server: RedisServer) -> AsyncIterator[RedisLine]:
    server.ask("FLUSHALL")
    async with opened(server.url) as line:
        yield line


def clients(server: RedisServer) -> int:
    found = server.ask("CLIENT", "LIST")
    assert isinstance(found, bytes)
    return found.count(b"\n") - 1  # without the one that asks


async def test_everybody_gets_their_own_replies(line: RedisLine, server: RedisServer) -> None:
    async def one(number: int) -> None:
        name, text = f"اسم {number}", "ما معنى «سلام»؟\r\n" * number
        for _ in range(3):
            replies = await line.ask(("SET", name, text), ("GET", name), ("GET", "nothing"), ("LRANGE", "nothing", 0, -1))
            assert replies == [b"OK", text.encode(), None, []]
            await line.ask(("DEL", name))

    await asyncio.gather(*map(one, range(200)))
    assert clients(server) == 1
    assert await line.ask() == [], "nothing was asked"


async def test_what_is_refused_is_told_to_who_asked(line: RedisLine) -> None:
    found: list[object] = await asyncio.gather(
        line.ask(("SET", "a", "1"), ("LPOP", "a"), ("SET", "b", "2")), line.ask(("PING",)), return_exceptions=True
    )
    assert isinstance(found[0], RedisRefusal)
    assert (found[0].code, found[1]) == ("WRONGTYPE", [b"PONG"])
    assert await line.ask(("MGET", "a", "b")) == [[b"1", b"2"]]


async def test_who_stops_waiting_leaves_the_others_their_replies(line: RedisLine, server: RedisServer) -> None:
    await line.ask(("PING",))
    server.hang()
    asked = [asyncio.create_task(line.ask(("ECHO", str(number)))) for number in range(20)]
    await asyncio.sleep(0.01)
    for task in asked[::2]:
        task.cancel()
    server.wake()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert replies[1::2] == [[str(number).encode()] for number in range(1, 20, 2)]
    assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])


async def test_a_connection_that_is_closed_is_opened_again(line: RedisLine, server: RedisServer) -> None:
    await line.ask(("PING",))
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await asyncio.gather(*(line.ask(("ECHO", str(number))) for number in range(20))) == [
        [str(number).encode()] for number in range(20)
    ]
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.05)  # long enough for the line to notice before it is asked
    assert await line.ask(("PING",)) == [b"PONG"]
    assert clients(server) == 1


async def test_a_silent_redis_is_given_up(server: RedisServer) -> None:
    async with opened(server.url, 0.2) as known, opened(server.url, 0.2) as new:
        await known.ask(("PING",))
        server.hang()
        try:
            async with asyncio.timeout(20):
                asked = [line.ask(("PING",)) for line in (known, new) for _ in range(5)]
                found = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            server.wake()
        assert [str(error) for error in found] == ["TimeoutError"] * 10
        assert await known.ask(("PING",)) == await new.ask(("PING",)) == [b"PONG"]


async def test_a_question_may_take_longer_than_others(server: RedisServer) -> None:
    async with opened(server.url, 0.2) as line:
        assert await line.ask(("BLPOP", "nothing", 1), within_s=20) == [None]


async def test_what_came_while_the_loop_was_held_up_is_read(server: RedisServer) -> None:
    async with opened(server.url, 0.3) as line:
        await line.ask(("PING",))
        asked = asyncio.create_task(line.ask(("PING",)))
        await asyncio.sleep(0.001)
        time.sleep(1)  # noqa: ASYNC251 - as a process does that gets no CPU
        assert await asked == [b"PONG"]


async def test_who_waits_when_it_is_closed_hears_of_it(server: RedisServer) -> None:
    async with opened(server.url) as line, opened(server.url) as new:
        await line.ask(("PING",))
        server.hang()
        asked = [asyncio.create_task(one.ask(("PING",))) for one in (line, new)]
        await asyncio.sleep(0.01)
        await asyncio.gather(line.close(), new.close())
        server.wake()
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [RelayUnavailable] * 2


async def test_what_an_address_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_redis() as server:
        server.ask("ACL", "SETUSER", "gateway", "on", ">secret word", "~*", "+@all")
        server.ask("CONFIG", "SET", "requirepass", "other word")
        place = f"{server.socket}?db=3&client_name=phone"
        for who in ("gateway:secret%20word", ":other%20word"):
            async with opened(f"unix://{who}@{place}") as line:
                [known] = await line.ask(("CLIENT", "LIST"))
            assert b" name=phone " in known
            assert b" db=3 " in known
        for who, code in (("gateway:wrong", "WRONGPASS"), ("", "NOAUTH")):
            async with opened(f"unix://{who}@{server.socket}") as line:
                for _ in range(2):
                    with pytest.raises(RedisRefusal, match=code):
                        await line.ask(("PING",))

        async def pass_on(here: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
            while data := await here.read(2**16):
                there.write(data)
            there.close()

        passing = list[asyncio.Task[None] | None]()

        async def tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            passing.append(asyncio.current_task())
            inside, outside = await asyncio.open_unix_connection(str(server.socket))
            await asyncio.gather(pass_on(reader, outside), pass_on(inside, writer))

        context = trusted_server(tmp_path, monkeypatch)
        async with await asyncio.start_server(tls, "127.0.0.1", 0, ssl=context) as proxy:
            host, port = proxy.sockets[0].getsockname()
            address = f"rediss://gateway:secret%20word@{host}:{port}/0"
            async with opened(f"{address}?ssl_ca_certs={tmp_path / 'chain.pem'}") as line:
                assert await line.ask(("PING",)) == [b"PONG"]
            async with opened(address) as line:
                with pytest.raises(RelayUnavailable, match="SSLCertVerificationError"):
                    await line.ask(("PING",))
            await asyncio.gather(*filter(None, passing))


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1",
        "127.0.0.1:6379",
        "redis://h?nonsense=1",
        "redis://h:port/0",
        "rediss://h?ssl_cert_reqs=perhaps",
        "rediss://h?ssl_ca_certs=/nowhere.pem",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RedisLine(address, ANSWER_S)


@pytest.mark.parametrize("address", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", f"redis://{'x' * 80}.invalid/0"])
async def test_nobody_is_there(address: str) -> None:
    async with opened(address) as line:
        found = await asyncio.gather(*(line.ask(("PING",)) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [RelayUnavailable] * 3


@pytest.mark.parametrize("said", [b"!nothing that Redis says\r\n", b"+PONG\r\n+PONG\r\n", b"+PONG\r\n+PO"])
async def test_a_server_that_says_what_was_not_asked(said: bytes, tmp_path: Path) -> None:
    answers = iter([said])

    class Odd(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, _: bytes) -> None:
            self.transport.write(next(answers, b"+PONG\r\n"))

    place = str(tmp_path / "s")
    odd = await asyncio.get_running_loop().create_unix_server(Odd, place)
    async with odd, opened(f"unix://{place}") as line:
        await asyncio.gather(line.ask(("PING",)), return_exceptions=True)
        assert await line.ask(("PING",)) == [b"PONG"]
