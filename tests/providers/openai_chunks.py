"""Chat Completions chunks, written by hand."""

import json
from typing import Any

from gateway.core import events as ev
from gateway.providers.openai import PROVIDER
from tests.providers import fixture_cases as fx

FINISH: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def sse(*chunks: Any, done: bool = True) -> bytes:
    """Frame chunks as OpenAI does; bytes go out as they are."""
    datas = [chunk if isinstance(chunk, bytes) else json.dumps(chunk, ensure_ascii=False).encode() for chunk in chunks]
    return b"".join(b"data: %s\n\n" % data for data in [*datas, *([b"[DONE]"] if done else [])])


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "gpt-x", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def streamed(*chunks: Any, done: bool = True) -> list[ev.Event]:
    return fx.decode_stream(PROVIDER, sse(*chunks, done=done))
