"""How the tests ask a simulator: one plain question in each provider's words, over HTTP or over a bare socket."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from simulator import Simulator

RECORDINGS = Path(__file__).parents[1] / "fixtures"
PROVIDERS = ("openai", "groq", "anthropic", "google")
WORD_TOOL = {"type": "object", "properties": {"word": {"type": "string"}, "limit": {"type": "integer"}}}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: path (with its query), headers and body."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def raw(self) -> bytes:
        """The request as it stands on the wire."""
        body = json.dumps(self.body, ensure_ascii=False).encode()
        lines = [f"POST {self.path} HTTP/1.1", "Host: simulator", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


def asked(provider: str, text: str = "ما معنى كلمة سلام؟", *, stream: bool = False, key: str = "sk-test-1") -> Asked:
    """Return a plain question to a provider."""
    if provider == "google":
        action = "streamGenerateContent?alt=sse" if stream else "generateContent"
        path, headers = f"/v1beta/models/gemini-3.8-flash:{action}", {"x-goog-api-key": key}
        return Asked(path, headers, {"contents": [{"role": "user", "parts": [{"text": text}]}]})
    body = {"messages": [{"role": "user", "content": text}], "stream": stream}
    if provider == "anthropic":
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return Asked("/v1/messages", headers, {"model": "claude-haiku-5-5", "max_tokens": 4096, **body})
    path, model = {
        "openai": ("/v1/chat/completions", "gpt-4o"),
        "groq": ("/openai/v1/chat/completions", "openai/gpt-oss-120b"),
    }[provider]
    return Asked(path, {"Authorization": f"Bearer {key}"}, {"model": model, **body})


@dataclass(frozen=True, slots=True)
class Got:
    """A reply that came whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


async def post(http: aiohttp.ClientSession, sim: Simulator, request: Asked) -> Got:
    """Send a request and read the whole reply."""
    async with http.post(sim.base_url + request.path, headers=request.headers, json=request.body) as response:
        return Got(response.status, response.headers, await response.read())


def text_of(provider: str, body: bytes, *, stream: bool) -> str:
    """Return the visible text of a reply."""
    if stream:
        frames = [line[6:] for line in body.splitlines() if line.startswith(b"data: ") and line != b"data: [DONE]"]
        return "".join(_piece(provider, json.loads(frame)) for frame in frames)
    value = json.loads(body)
    match provider:
        case "openai" | "groq":
            return str(value["choices"][0]["message"]["content"])
        case "anthropic":
            return "".join(block["text"] for block in value["content"] if block["type"] == "text")
        case _:
            return _piece("google", value)


def _piece(provider: str, value: dict[str, Any]) -> str:
    match provider:
        case "openai" | "groq":
            return "".join(choice["delta"].get("content") or "" for choice in value["choices"])
        case "anthropic":
            return str(value.get("delta", {}).get("text") or "")
        case _:
            parts = value["candidates"][0]["content"]["parts"]
            return "".join(part.get("text", "") for part in parts if not part.get("thought"))


@dataclass(slots=True)
class Line:
    """A bare TCP connection to a simulator."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    got: bytes = b""
    reset: bool = field(default=False)

    @classmethod
    async def open(cls, sim: Simulator, request: Asked) -> "Line":
        """Connect and send a request."""
        host, _, port = sim.base_url.removeprefix("http://").rpartition(":")
        line = cls(*await asyncio.open_connection(host, int(port)))
        line.writer.write(request.raw)
        await line.writer.drain()
        return line

    async def until(self, marker: bytes) -> bytes:
        """Read until `marker` has come; everything so far stays in `got`."""
        while marker not in self.got:
            chunk = await self.reader.read(65536)
            if not chunk:
                raise EOFError(f"{marker!r} never came, only {self.got!r}")
            self.got += chunk
        return self.got

    async def rest(self) -> bytes:
        """Read to the end of the connection; `reset` tells whether it was a RST."""
        try:
            while chunk := await self.reader.read(65536):
                self.got += chunk
        except ConnectionResetError:
            self.reset = True
        return self.got

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def chunks_of(raw: bytes) -> tuple[list[bytes], bool]:
    """Return the chunks of a chunked body behind a response head, and whether the body was ended properly."""
    rest = raw.partition(b"\r\n\r\n")[2]
    found: list[bytes] = []
    while rest:
        size, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            break
        length = int(size, 16)
        if length == 0:
            return found, True
        found.append(rest[:length])
        rest = rest[length + 2 :]
    return found, False


def dechunked(raw: bytes) -> tuple[bytes, bool]:
    """Undo chunked coding behind a response head; the second value tells whether the body was ended properly."""
    chunks, ended = chunks_of(raw)
    return b"".join(chunks), ended
