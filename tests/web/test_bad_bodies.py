"""Bodies that no client should send: the right error, the same connection afterwards, and nothing in the log."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.running import Gateway, Start, open_client
from tests.web.shapes import check_problem

GOOD = {"message": "سلام"}
MIB = 1024 * 1024


def entries(*given: Any) -> dict[str, Any]:
    return {"messages": list(given)}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def nested(depth: int) -> bytes:
    return b'{"message":"a","tools":[{"name":"t","parameters":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}]}"


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"nonsense",
    b'{"message": "a",}',
    b"\xff\xfe",
    b'{"message": NaN}',
    b"[" * 100_000,
    b'{"message":"\xc3"}',
]
WRONG: list[Any] = [
    [],
    5,
    "text",
    None,
    {},
    {"message": None},
    {"message": ""},
    {"message": " \n\t"},
    {"message": 5},
    {"message": ["a"]},
    {"messages": []},
    {"messages": [], "message": " "},
    {"messages": [{"role": ["user"], "content": "a"}], "message": "b"},
    {"messages": {}},
    {"messages": "a"},
    entries("a"),
    entries({}),
    entries({"role": "robot", "content": "a"}),
    entries(user(None)),
    entries(user("")),
    entries(user([])),
    entries(user(5)),
    entries(user([{"type": "text"}])),
    entries(user([{"type": "video", "text": "a"}])),
    entries(user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
    entries(user([{"type": "image_url", "image_url": "http://a"}])),
    entries(user("a"), {"role": "assistant", "content": "b"}),
    entries({"role": "system", "content": "a"}),
    entries({"role": "tool", "content": "a"}),
    entries(user("a"), {"role": "assistant", "tool_calls": [{"id": "1"}]}),
    entries(user("a"), {"role": "assistant", "tool_calls": [{"name": "t", "arguments": [1]}]}),
    GOOD | {"conversation_id": ""},
    GOOD | {"conversation_id": "a" * 201},
    GOOD | {"conversation_id": "a\nb"},
    GOOD | {"conversation_id": "a\x00b"},
    GOOD | {"conversation_id": 7},
    GOOD | {"tools": {}},
    GOOD | {"tools": [{}]},
    GOOD | {"tools": [{"name": "t", "parameters": []}]},
    GOOD | {"tool_choice": "sometimes"},
    GOOD | {"tool_choice": {"name": "missing"}},
    GOOD | {"system_prompt": 5},
    GOOD | {"provider": 5},
    GOOD | {"model": ["gpt-4o"]},
    GOOD | {"temperature": "hot"},
    GOOD | {"temperature": -1},
    GOOD | {"temperature": 2.5},
    GOOD | {"temperature": True},
    GOOD | {"max_tokens": 0},
    GOOD | {"max_tokens": 1.5},
    GOOD | {"max_tokens": "10"},
]


@pytest.fixture
async def alone(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client with one connection, which must serve to the end."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    async with open_client(gateway.url, limits=limits) as client:
        yield client


def port(answer: httpx.Response) -> int:
    """The client's end of the connection that an answer came over."""
    address: tuple[str, int] = answer.extensions["network_stream"].get_extra_info("client_addr")
    return address[1]


async def check_unharmed(gateway: Gateway, client: httpx.AsyncClient, opened: int) -> None:
    """The same connection serves a good request, which is the only turn in the log."""
    good = await client.post("/chat", json=GOOD)
    assert good.status_code == 200
    assert port(good) == opened
    [count] = await gateway.rows("SELECT count(*) FILTER (WHERE role = 'user') AS asked, count(*) AS rows FROM messages")
    assert (count["asked"], count["rows"]) == (1, 2)
    assert len(gateway.simulator.calls) == 1
    health = (await client.get("/health")).json()
    assert (health["status"], health["active_turns"]) == ("healthy", 0)


async def test_what_is_no_json(gateway: Gateway, alone: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    opened = port(await alone.get("/health/live"))
    for body in NOT_JSON:
        for path in ("/chat", "/chat/stream"):
            with subtests.test(body=body[:30], path=path):
                answer = await alone.post(path, content=body, headers={"Content-Type": "application/json"})
                check_problem(answer, "invalid_json")
                assert port(answer) == opened
    await check_unharmed(gateway, alone, opened)


async def test_json_that_is_no_request(gateway: Gateway, alone: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    opened = port(await alone.get("/health/live"))
    for body in WRONG:
        for path in ("/chat", "/chat/stream"):
            with subtests.test(body=str(body)[:80], path=path):
                answer = await alone.post(path, content=json.dumps(body))
                problem = check_problem(answer, "invalid_request")
                assert problem["errors"]
                assert all("[" not in error["loc"] for error in problem["errors"])
                assert port(answer) == opened
    await check_unharmed(gateway, alone, opened)


async def test_unknown_names(gateway: Gateway, alone: httpx.AsyncClient) -> None:
    opened = port(await alone.get("/health/live"))
    for provider in ("cohere", "OpenAI ", "__class__", "openai\x00"):
        check_problem(await alone.post("/chat", json=GOOD | {"provider": provider}), "unknown_provider")
    for model in ("gpt-9", "../etc/passwd", "a" * 200):
        check_problem(await alone.post("/chat/stream", json=GOOD | {"model": model}), "unknown_model")
    await check_unharmed(gateway, alone, opened)


async def test_nesting(gateway: Gateway, alone: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    opened = port(await alone.get("/health/live"))
    for depth in (300, 1000, 5000, 200_000):
        with subtests.test(depth=depth):
            answer = await alone.post("/chat", content=nested(depth))
            check_problem(answer, answer.json()["code"])
            assert answer.json()["code"] in ("invalid_json", "invalid_request")
    await check_unharmed(gateway, alone, opened)


async def test_nesting_that_fits_is_passed_on(gateway: Gateway, subtests: pytest.Subtests) -> None:
    """Whatever is accepted can be sent to every provider and stored."""
    for provider in ("openai", "anthropic", "groq", "google"):
        for depth in (50, 120, 180, 220, 240):
            with subtests.test(provider=provider, depth=depth):
                body = json.loads(nested(depth)) | {"provider": provider}
                answer = await gateway.client.post("/chat", json=body)
                assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "chunked"])
async def test_too_large(gateway: Gateway, alone: httpx.AsyncClient, announced: bool) -> None:
    opened = port(await alone.get("/health/live"))
    pieces = [b'{"message":"', *[b"a" * MIB] * 50, b'"}']

    async def chunked() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    answer = await alone.post("/chat", content=b"".join(pieces) if announced else chunked())
    check_problem(answer, "body_too_large")
    await check_unharmed(gateway, alone, opened)


async def test_a_large_body_within_the_bound(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_BODY_BYTES=str(2 * MIB))
    long = "سلام " * 100_000
    reply = await gateway.ask({"message": long})
    [row] = await gateway.rows("SELECT content FROM messages WHERE turn_id = $1 AND role = 'user'", reply["turn_id"])
    assert row["content"] == long
    check_problem(await gateway.client.post("/chat", json={"message": "س" * MIB}), "body_too_large")


async def test_chunked_and_compressed_uploads_are_read(gateway: Gateway, alone: httpx.AsyncClient) -> None:
    async def drops() -> AsyncIterator[bytes]:
        for byte in json.dumps(GOOD, ensure_ascii=False).encode():
            yield bytes([byte])

    assert (await alone.post("/chat", content=drops())).status_code == 200
    packed = gzip.compress(json.dumps(GOOD).encode())
    assert (await alone.post("/chat", content=packed, headers={"Content-Encoding": "gzip"})).status_code == 200


async def test_compressed_bodies_that_are_broken_or_too_large(gateway: Gateway, alone: httpx.AsyncClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    check_problem(await alone.post("/chat", content=b"no gzip at all", headers=headers), "invalid_json")
    bomb = gzip.compress(b'{"message":"' + b"a" * (50 * MIB) + b'"}')
    check_problem(await alone.post("/chat", content=bomb, headers=headers), "body_too_large")
    opened = port(await alone.get("/health/live"))
    await check_unharmed(gateway, alone, opened)


async def test_content_types(gateway: Gateway, alone: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    body = json.dumps(GOOD).encode()
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "nonsense",
    ):
        with subtests.test(kind=kind):
            check_problem(await alone.post("/chat", content=body, headers={"Content-Type": kind}), "unsupported_media_type")
    assert gateway.simulator.calls == []
    assert (await alone.post("/chat", content=body)).status_code == 200
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.app+json"):
        with subtests.test(kind=kind):
            assert (await alone.post("/chat", content=body, headers={"Content-Type": kind})).status_code == 200


async def test_text_that_no_database_takes(gateway: Gateway) -> None:
    """NUL and lone surrogates become U+FFFD, the same for the provider, the client and the log."""
    raw = b'{"message":"\\u0000 a \\ud800 \\udc00\\ud83d\\ude00","conversation_id":"conv-1"}'
    answer = await gateway.client.post("/chat", content=raw)
    assert answer.status_code == 200
    expected = "\ufffd a \ufffd \ufffd\U0001f600"
    [row] = await gateway.rows("SELECT content FROM messages WHERE role = 'user'")
    assert row["content"] == gateway.simulator.calls[-1].body["messages"][-1]["content"] == expected


async def test_unknown_fields_are_ignored(gateway: Gateway) -> None:
    extra = {"stream": True, "user": "x", "metadata": {"a": [1]}, "__proto__": {}}
    entry = user("سلام") | {"name": "x", "timestamp": 5, "id": None}
    assert (await gateway.client.post("/chat", json=entries(entry) | extra)).status_code == 200
