"""A provider that costs next to nothing: OpenAI's wire format from prepared bytes, on a bare asyncio protocol.

`python -m bench.upstream PORT [--tokens 100] [--gap-ms 20]`: replies of so many tokens, all at once or one each `--gap-ms`. A
request whose text holds `[tokens=40 gap=500]` gets what it says; `[tokens=40 gap=500 words=100]` has long tokens.
"""

import argparse
import asyncio
import json
import re
from functools import cache
from typing import Any, cast

import uvloop

WORD = "سلام "
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
_WISH = re.compile(rb"\[tokens=(\d+) gap=(\d+)(?: words=(\d+))?\]")


def wish(tokens: int, gap_ms: int, words: int = 1) -> str:
    """What to put into a question to get such a reply; each token is so many words."""
    return f"[tokens={tokens} gap={gap_ms} words={words}]"


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _event(body: dict[str, Any]) -> bytes:
    common = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench"}
    return b"data: " + json.dumps(common | body, ensure_ascii=False).encode() + b"\n\n"


def _delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


@cache
def stream_events(tokens: int, words: int = 1) -> list[bytes]:
    """The frames of one streamed reply, each as one HTTP chunk."""
    usage = {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens}
    frames = [_delta({"role": "assistant", "content": "", "refusal": None})]
    frames += [_delta({"content": WORD * words}) for _ in range(tokens)]
    frames += [_delta({}, "stop"), _event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"]
    return [_chunk(frame) for frame in frames]


@cache
def burst(tokens: int, words: int = 1) -> bytes:
    """One streamed reply at once, with its HTTP head."""
    return HEAD + b"".join(stream_events(tokens, words)) + END


@cache
def whole_reply(tokens: int) -> bytes:
    """One whole reply with its HTTP head."""
    message: dict[str, Any] = {"role": "assistant", "content": WORD * tokens, "refusal": None, "annotations": []}
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens},
        },
        ensure_ascii=False,
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Provider(asyncio.Protocol):
    """One connection; requests follow each other on it."""

    def __init__(self, tokens: int, gap_s: float) -> None:
        self._tokens = tokens
        self._gap_s = gap_s
        self._buffer = b""
        self._dripping: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, no subclasses of the library's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._dripping is not None:
            self._dripping.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (split := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:split].lower()
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._buffer) < split + 4 + length:
                return
            body = self._buffer[split + 4 : split + 4 + length]
            self._buffer = self._buffer[split + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        tokens, gap_s, words = self._tokens, self._gap_s, 1
        if (asked := _WISH.search(body)) is not None:
            tokens, gap_s, words = int(asked[1]), int(asked[2]) / 1000, int(asked[3] or 1)
        if b'"stream":true' not in body:
            self._transport.write(whole_reply(tokens))
        elif gap_s:
            self._dripping = asyncio.get_running_loop().create_task(self._drip(stream_events(tokens, words), gap_s))
        else:
            self._transport.write(burst(tokens, words))

    async def _drip(self, events: list[bytes], gap_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._transport.write(HEAD)
        due = loop.time()
        for event in events:
            self._transport.write(event)
            due += gap_s
            await asyncio.sleep(max(0.0, due - loop.time()))
        self._transport.write(END)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--gap-ms", type=float, default=0)
    flags = parser.parse_args()
    server = await asyncio.get_running_loop().create_server(
        lambda: Provider(flags.tokens, flags.gap_ms / 1000), "127.0.0.1", flags.port, backlog=4096
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
