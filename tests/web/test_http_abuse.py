"""HTTP as no client should speak it: methods, addresses, headers and framing."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from tests.running import Gateway
from tests.web.shapes import check_problem

GOOD = json.dumps({"message": "سلام"}).encode()
METHODS = {
    "/": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/health/live": {"GET", "HEAD"},
    "/health/ready": {"GET", "HEAD"},
    "/chat": {"POST"},
    "/chat/stream": {"POST", "DELETE"},
    "/chat/stream/01a20646-bbd1-70ab-a217-2fb5d3b3cae9": {"GET", "DELETE"},
    "/conversations": {"GET", "HEAD"},
    "/conversations/conv-1": {"GET", "HEAD", "DELETE"},
}


@dataclass(slots=True)
class Wire:
    """A bare connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        """One answer with a Content-Length: status, headers (lower case), body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body


def post(path: str = "/chat", body: bytes = GOOD, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


@pytest.fixture
async def wire(gateway: Gateway) -> AsyncIterator[Wire]:
    url = httpx.URL(gateway.url)
    assert url.port is not None
    opened = Wire(*await asyncio.open_connection(url.host, url.port))
    yield opened
    opened.writer.close()


async def test_methods(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for path, allowed in METHODS.items():
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            if method in allowed:
                continue
            with subtests.test(method=method, path=path):
                answer = await gateway.client.request(method, path)
                assert answer.status_code == 405
                assert set(answer.headers["Allow"].split(",")) == allowed
                if method != "HEAD":
                    check_problem(answer, "method_not_allowed")


async def test_head_is_get_without_a_body(gateway: Gateway) -> None:
    for path in ("/", "/health", "/health/live", "/health/ready", "/conversations"):
        answer = await gateway.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Type"].startswith("application/json")


async def test_addresses_that_do_not_exist(gateway: Gateway, wire: Wire, subtests: pytest.Subtests) -> None:
    paths = [
        "/nothing",
        "/chat/",
        "//chat",
        "/chat/stream/a/b",
        "/conversations/",
        "/%00",
        "/%zz",
        "/..%2f..%2fetc/passwd",
        "/chat%2Fstream",
    ]
    for path in paths:
        with subtests.test(path=path):
            await wire.say(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            status, headers, body = await wire.hear()
            assert (status, json.loads(body)["code"]) == (404, "not_found")
            assert headers["content-type"] == "application/problem+json"


async def test_request_ids(gateway: Gateway) -> None:
    for given in (b"abc-123", b"A.b_c:d", b"x" * 128):
        answer = await gateway.client.get("/", headers=[(b"X-Request-Id", given)])
        assert answer.headers["X-Request-Id"].encode() == given
    for given in (b"", b"a b", b"x" * 129, b"<script>", "سلام".encode()):
        answer = await gateway.client.get("/", headers=[(b"X-Request-Id", given)])
        assert len(answer.headers["X-Request-Id"]) == 32
    reply = await gateway.client.post("/chat", content=GOOD, headers={"X-Request-Id": "from-the-app"})
    [row] = await gateway.rows(
        "SELECT request_id FROM messages WHERE turn_id = $1 AND role = 'assistant'", reply.json()["turn_id"]
    )
    assert row["request_id"] == "from-the-app"


TURN = b"01a20646-bbd1-70ab-a217-2fb5d3b3cae9"
BAD_HEADERS = {
    b"Idempotency-Key": [b"", b"a b", b"x" * 201, "مفتاح".encode(), b"a\tb"],
    b"Last-Event-ID": [b"x", b"1", b".", TURN, TURN + b".-1", TURN + b".1e3", TURN.upper() + b".1", b"x" * 4000],
}


async def test_headers_that_name_nothing(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for name, values in BAD_HEADERS.items():
        for value in values:
            with subtests.test(name=name, value=value):
                answer = await gateway.client.post("/chat/stream", content=GOOD, headers=[(name, value)])
                check_problem(answer, "invalid_request")
    assert gateway.simulator.calls == []


async def test_one_connection_serves_requests_sent_at_once(gateway: Gateway, wire: Wire) -> None:
    await wire.say(post() + post("/chat", b"{") + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    statuses = [(await wire.hear())[0] for _ in range(3)]
    assert statuses == [200, 400, 200]


async def test_old_http_and_lower_case_headers(gateway: Gateway, wire: Wire) -> None:
    await wire.say(b"POST /chat HTTP/1.0\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(GOOD) + GOOD)
    assert (await wire.hear())[0] == 200
    assert await wire.reader.read() == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"BREW /chat HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-More: 1\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Nul: a\x00b\r\n\r\n",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ],
    ids=[
        "tls",
        "words",
        "method",
        "version",
        "long path",
        "long header",
        "many headers",
        "no colon",
        "nul",
        "negative length",
        "two lengths",
        "length and chunks",
        "coding",
        "bad chunk",
    ],
)
async def test_broken_http_is_refused_and_the_connection_closed(gateway: Gateway, wire: Wire, request_bytes: bytes) -> None:
    await wire.say(request_bytes)
    answer = await wire.reader.read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json\r\n" in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert problem["request_id"].encode() in head
    assert (await gateway.client.get("/health")).json()["status"] == "healthy"
    assert gateway.simulator.calls == []


async def test_expectations(gateway: Gateway, wire: Wire) -> None:
    head, _, body = post("/chat", GOOD, "Expect: 100-continue").partition(b"\r\n\r\n")
    await wire.say(head + b"\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.say(body)
    assert (await wire.hear())[0] == 200


async def test_a_client_that_leaves_in_the_middle_of_its_body(gateway: Gateway, wire: Wire) -> None:
    await wire.say(post()[:-4])
    wire.writer.close()
    await wire.writer.wait_closed()
    assert (await gateway.client.get("/health")).json()["active_turns"] == 0
    assert (await gateway.client.post("/chat", content=GOOD)).status_code == 200
    [count] = await gateway.rows("SELECT count(*) AS rows FROM messages")
    assert count["rows"] == 2


async def test_many_headers_and_long_ones_that_fit(gateway: Gateway) -> None:
    headers = {f"X-Extra-{number}": "ا" * 20 for number in range(50)}
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert (await gateway.client.get("/health/live", headers=[*sent, (b"X-Long", b"a" * 7000)])).status_code == 200
