"""Requests and replies of OpenAI's format as the reference shows them."""

from typing import Any

from gateway.core.jsontext import dumps_text
from gateway.web import examples
from gateway.wire.frames import END
from gateway.wire.openai_chunks import DONE, completion_id

COMPLETION_ID = completion_id(examples.TURN_ID)
MODEL = "openai/gpt-6-luna"
_ENVELOPE: dict[str, Any] = {"id": COMPLETION_ID, "created": 1_795_400_000, "model": MODEL}
_TEXT: str = examples.REPLY["content"]
_BEGINNING: str = examples.EVENTS["token"]["text"]

REQUESTS: dict[str, dict[str, Any]] = {
    "question": {
        "summary": "A question",
        "value": {"model": MODEL, "messages": [{"role": "user", "content": examples.QUESTION["message"]}]},
    },
    "tools": {
        "summary": "A question with tools, to be streamed, in a conversation of the client's naming",
        "value": {
            "model": "claude-haiku-5-5",
            "messages": [
                {"role": "system", "content": examples.WITH_TOOLS["system_prompt"]},
                {"role": "user", "content": examples.WITH_TOOLS["message"]},
            ],
            "tools": [{"type": "function", "function": tool} for tool in examples.WITH_TOOLS["tools"]],
            "stream": True,
            "stream_options": {"include_usage": True},
            "metadata": {"conversation_id": examples.CONVERSATION_ID},
        },
    },
}

COMPLETION: dict[str, Any] = _ENVELOPE | {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": _TEXT, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46, "cost": 0.000371},
    "conversation_id": examples.CONVERSATION_ID,
}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _ENVELOPE | {"object": "chat.completion.chunk", "choices": [choice]}


def _frame(place: str | None, data: str) -> str:
    return ("" if place is None else f"id: {examples.TURN_ID}.{place}\n") + f"data: {data}\n\n"


CHUNK = _chunk({"content": _BEGINNING})
_CHUNKS = {
    "0": _chunk({"role": "assistant", "content": "", "refusal": None}) | {"conversation_id": examples.CONVERSATION_ID},
    str(len(_BEGINNING)): CHUNK,
    str(len(_TEXT)): _chunk({"content": _TEXT.removeprefix(_BEGINNING)}),
    None: _chunk({}, "stop"),
}
STREAM = "".join(_frame(place, dumps_text(chunk)) for place, chunk in _CHUNKS.items()) + _frame(END, DONE)
"""A short stream from its first chunk to its end."""
