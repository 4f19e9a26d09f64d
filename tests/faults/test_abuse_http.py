"""Requests that two servers in a row would read differently, addresses and headers that mean harm, and many of them at once."""

import asyncio
import json
import random
from urllib.parse import quote

import pytest

from tests.faults.wire import check_healthy, lines, listener, statuses
from tests.running import Gateway
from tests.web.shapes import check_problem

POST = b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /health/live HTTP/1.1\r\n"
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"

# Each is refused as a whole, and the connection with it, so that nothing behind it is taken for another request.
REFUSED = {
    "length, then chunks": POST + b"Content-Length: 5\r\n" + CHUNKS + b"0\r\n\r\n",
    "chunks, then length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "an Arabic length": POST + "Content-Length: ٢\r\n\r\n{}".encode(),
    "a length with an underscore": POST + b"Content-Length: 0_2\r\n\r\n{}",
    "a length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "no length": POST + b"Content-Length: \r\n\r\n{}",
    "another coding": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunks inside another coding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding that looks like chunks": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\n" + CHUNKS + b"0\r\n\r\n",
    "chunks behind a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon of a length": POST + b"Content-Length : 2\r\n\r\n{}",
    "a folded line": GET + b"Host: localhost\r\nX-A: a\r\n b\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the first header": GET + b" X-A: a\r\nHost: localhost\r\n\r\n",
    "bare line feeds": b"GET /health/live HTTP/1.1\nHost: localhost\n\n",
    "one bare line feed": GET + b"X-A: a\nX-B: b\r\nHost: localhost\r\n\r\n",
    "a bare carriage return": GET + b"X-A: a\rX-B: b\r\nHost: localhost\r\n\r\n",
    "NUL in a name": GET + b"X\x00A: a\r\nHost: localhost\r\n\r\n",
    "NUL in a value": GET + b"X-A: a\x00b\r\nHost: localhost\r\n\r\n",
    "a header without a name": GET + b": a\r\nHost: localhost\r\n\r\n",
    "two hosts": GET + b"Host: localhost\r\nHost: evil.example\r\n\r\n",
    "no host": GET + b"\r\n",
    "a chunk beyond all numbers": POST + CHUNKS + b"FFFFFFFFFFFFFFFF1\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": POST + CHUNKS + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of 0x2": POST + CHUNKS + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that ends its line with a line feed": POST + CHUNKS + b"2\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": POST + CHUNKS + b"2\r\n{}XX\r\n0\r\n\r\n",
    "a line feed in a chunk's extension": POST + CHUNKS + b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in the address": b"GET /health/live x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address without a slash": b"GET health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address with a port beyond all ports": b"GET http://localhost:99999999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address with half a bracket": b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address with letters as they are": "GET /كتاب HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "a thousand headers": GET + b"Host: localhost\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
}


async def test_what_could_be_read_two_ways_is_refused(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for name, data in REFUSED.items():
        with subtests.test(name=name):
            async with lines(gateway) as [line]:
                await line.say(data + SMUGGLED)
                answer = await line.rest()
                assert statuses(answer) == [400]
                head, _, body = answer.partition(b"\r\n\r\n")
                assert b"Content-Type: application/problem+json" in head
                assert b"aiohttp" not in head
                problem = json.loads(body)
                assert problem["status"] == 400
                assert problem["detail"].startswith(("The request is not valid HTTP.", "The address is not valid;"))
                assert ("percent-encoded" in problem["detail"]) >= (name == "an address with letters as they are")
                assert str(problem["request_id"]).encode() in head
    assert gateway.simulator.calls == []
    await check_healthy(gateway)


async def test_heads_of_a_megabyte(gateway: Gateway) -> None:
    """Their sender may be cut off before it can read why."""
    for head in (
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost",
        GET + b"Host: localhost\r\nX: " + b"a" * 1_000_000,
    ):
        async with lines(gateway) as [line]:
            line.writer.write(head + b"\r\n\r\n" + SMUGGLED)
            assert statuses(await line.rest()) in ([400], [])
    await check_healthy(gateway)


async def test_foreign_addresses_are_never_called(gateway: Gateway) -> None:
    """This is no proxy: the path counts, and whoever is named before it hears nothing."""
    async with listener() as (url, heard):
        host = url.removeprefix("http://")
        for request, status in (
            (f"GET {url}/health/live HTTP/1.1\r\nHost: localhost\r\n", 200),
            (f"CONNECT {host} HTTP/1.1\r\nHost: localhost\r\n", 404),
            (f"GET //{host}/health/live HTTP/1.1\r\nHost: localhost\r\n", 404),
            ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 404),
            ("GET /health/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n", 200),
            (f"GET {url}/health/live HTTP/1.1\r\nHost: {host.replace('127.0.0.1', 'evil.example')}\r\n", 403),
        ):
            async with lines(gateway) as [line]:
                await line.say((request + "Connection: close\r\n\r\n").encode())
                assert statuses(await line.rest()) == [status], request
        assert heard == []
    await check_healthy(gateway)


async def test_ids_with_anything_in_them(gateway: Gateway, subtests: pytest.Subtests) -> None:
    """What a client may call its conversation it can also read and delete, and nothing else by that name."""
    for name in ("a/b", "..", ".", "../stats", "a%2Fb", "a b", "؟#&=+", "كتاب/ب", "a//b", "a;b", "a\\b", "%00", "x" * 200):
        with subtests.test(name=name):
            await gateway.ask({"message": name, "conversation_id": name})
            place = "/conversations/" + quote(name, safe="").replace(".", "%2E")
            async with lines(gateway) as [line]:
                await line.say(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = await line.rest()
                assert statuses(answer) == [200], place
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["id"] == name
    for name in ("\u0000", "a\nb", "a\u007fb", "x" * 201, ""):
        check_problem(await gateway.client.post("/chat", json={"message": "سلام", "conversation_id": name}), "invalid_request")


async def test_addresses_lead_nowhere_else(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for path in (
        "/conversations/../../etc/passwd",
        "/conversations/%2e%2e/%2e%2e/etc/passwd",
        "/conversations/%ff%fe",
        "/conversations/a%00b",
        "/docs/../../run.py",
        "/docs%2f..%2frun.py",
        "/.env",
        "/.git/config",
        "/chat/stream/" + "a" * 7000,
        "/chat/stream/%0d%0aX-Injected:%201",
        "/conversations/" + "%d8%b3" * 1000,
    ):
        with subtests.test(path=path):
            async with lines(gateway) as [line]:
                await line.say(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = await line.rest()
                assert statuses(answer) == [404]
                assert b"X-Injected: 1" not in answer.partition(b"\r\n\r\n")[0]
    await check_healthy(gateway)


async def test_noise_on_many_lines_at_once(gateway: Gateway) -> None:
    """Two hundred connections, each with bytes of its own: mangled requests and plain noise."""
    chance = random.Random(2026)
    whole = POST + b'Content-Length: 26\r\n\r\n{"message": "[[sim: x=1"}' + SMUGGLED

    def mangled() -> bytes:
        if chance.random() < 0.3:
            return chance.randbytes(chance.randrange(1, 2000))
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[: chance.randrange(1, len(data))])

    async with lines(gateway, 200) as opened:
        for line in opened:
            await line.say(mangled())
            line.writer.write_eof()
        for answer in await asyncio.gather(*(line.rest() for line in opened)):
            assert set(statuses(answer)) <= {200, 400, 403, 404, 405, 415, 422}
            assert b"Traceback" not in answer
    await check_healthy(gateway)
