"""A whole reply leaves in one write of our own: it says what aiohttp's way of answering would say."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.running import Gateway

QUESTION = json.dumps({"message": "ما معنى كلمة «سَلام»؟"}).encode()
COMPLETION = json.dumps({"model": "openai/gpt-6-luna", "messages": [{"role": "user", "content": "ما الجذر؟"}]}).encode()
EACH_ITS_OWN = ("x-turn-id", "x-request-id", "date", "content-length", "ratelimit-remaining", "ratelimit-reset")

Answer = tuple[str, dict[str, str], bytes]
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def line(gateway: Gateway) -> AsyncIterator[Line]:
    url = httpx.URL(gateway.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    yield reader, writer
    writer.close()


def asked(version: str, path: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/{version}", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


async def heard(reader: asyncio.StreamReader) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").strip().split("\r\n")
    names = [line.partition(": ")[0].lower() for line in lines]
    assert len(names) == len(set(names))
    headers = dict(zip(names, (line.partition(": ")[2] for line in lines), strict=True))
    return status, headers, await reader.readexactly(int(headers["content-length"]))


@pytest.mark.parametrize(("path", "body"), [("/chat", QUESTION), ("/v1/chat/completions", COMPLETION)])
async def test_the_same_headers_as_to_an_older_client(line: Line, path: str, body: bytes) -> None:
    reader, writer = line
    writer.write(asked("1.1", path, body))
    status, headers, reply = await heard(reader)
    # HTTP/1.0 is answered by aiohttp itself.
    writer.write(asked("1.0", path, body, "Connection: keep-alive"))
    older_status, older, older_reply = await heard(reader)
    assert (status, older_status) == ("HTTP/1.1 200 OK", "HTTP/1.0 200 OK")
    assert older.pop("connection") == "keep-alive"
    assert headers.keys() == older.keys()
    assert {name: value for name, value in headers.items() if name not in EACH_ITS_OWN} == {
        name: value for name, value in older.items() if name not in EACH_ITS_OWN
    }
    assert json.loads(reply).keys() == json.loads(older_reply).keys()


async def test_a_client_that_wants_the_connection_closed(line: Line) -> None:
    reader, writer = line
    writer.write(asked("1.1", "/chat", QUESTION, "Connection: close"))
    status, headers, reply = await heard(reader)
    assert (status, headers["connection"]) == ("HTTP/1.1 200 OK", "close")
    assert json.loads(reply)["content"]
    assert await reader.read() == b""


async def test_questions_sent_one_behind_the_other(line: Line) -> None:
    reader, writer = line
    writer.write(b"".join(asked("1.1", "/chat", QUESTION, f"X-Request-Id: سؤال-{number}") for number in range(3)))
    writer.write(b"".join(asked("1.1", "/chat", QUESTION, f"X-Request-Id: q-{number}") for number in range(3)))
    answers = [await heard(reader) for _ in range(6)]
    assert [headers["x-request-id"] for _, headers, _ in answers[3:]] == ["q-0", "q-1", "q-2"]
    assert all(json.loads(reply)["conversation_id"] for _, _, reply in answers)
