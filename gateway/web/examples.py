"""Requests, replies and streams as the reference shows them."""

from typing import Any

_TURN = "0199b2f0-6c1a-7d3e-9f42-5b8e0c7a1d24"
_CONVERSATION = "conv-1732000000000-k3j9x"
_MODEL = "gpt-6-luna"
_QUESTION = "ما معنى كلمة «سَلْسَبيل»؟"
_ANSWER = "السَّلْسَبيلُ: الماءُ العَذْبُ السَّهلُ المُرورِ في الحَلْق."
_USAGE = {"input_tokens": 12, "output_tokens": 34, "cached_tokens": 0, "reasoning_tokens": 0, "cost_usd": 0.000371}

QUESTION: dict[str, Any] = {"conversation_id": _CONVERSATION, "message": _QUESTION}

WITH_TOOLS: dict[str, Any] = {
    "conversation_id": _CONVERSATION,
    "provider": "anthropic",
    "system_prompt": "أنتَ عالِمٌ بمعاجمِ العربيّة.",
    "message": "ابحثْ عن الجذر «سلم».",
    "tools": [
        {
            "name": "search_root",
            "description": "يبحث عن جذرٍ في المعاجم",
            "parameters": {"type": "object", "properties": {"root": {"type": "string"}}, "required": ["root"]},
        }
    ],
    "tool_choice": "auto",
}

TOOL_RESULT: dict[str, Any] = {
    "conversation_id": _CONVERSATION,
    "messages": [{"role": "tool", "tool_call_id": "call_1", "content": '{"معنى": "البراءةُ من العيوب"}'}],
}

WHOLE_HISTORY: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": _QUESTION},
        {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": "هاتِ شاهدًا من الشِّعر."},
    ],
    "provider": "google",
    "temperature": 0.3,
}

REQUESTS: dict[str, dict[str, Any]] = {
    "question": {"summary": "A question; the history comes from the log", "value": QUESTION},
    "tools": {"summary": "A question with tools, to a named provider", "value": WITH_TOOLS},
    "tool_result": {"summary": "Results of tool calls; the history comes from the log", "value": TOOL_RESULT},
    "history": {"summary": "The whole history, as the client has it", "value": WHOLE_HISTORY},
}

REPLY: dict[str, Any] = {
    "message_id": "123",
    "content": _ANSWER,
    "tool_calls": [],
    "thoughts": [],
    "sources": [],
    "turn_id": _TURN,
    "conversation_id": _CONVERSATION,
    "provider": "openai",
    "model": _MODEL,
    "status": "completed",
    "finish_reason": "stop",
    "usage": _USAGE,
    "logged": "stored",
}

FAILURE: dict[str, Any] = {
    "type": "urn:problem:provider_error",
    "title": "The provider failed",
    "status": 502,
    "detail": "The connection to the provider broke.",
    "code": "provider_error",
    "request_id": "6f1c2b7d9e0a4c55a3d8b1f2e4c6a7b8",
    "turn_id": _TURN,
    "retryable": True,
}

PAGE: dict[str, Any] = {
    "conversations": [
        {
            "id": _CONVERSATION,
            "provider": "openai",
            "created_at": "2026-11-23T08:00:00.000Z",
            "updated_at": "2026-11-23T08:00:02.150Z",
            "message_count": 2,
            "user_id": "user:7",
        }
    ],
    "next_cursor": None,
}

_LOGGED: dict[str, Any] = {
    "turn_id": _TURN,
    "status": "completed",
    "provider": None,
    "model": None,
    "finish_reason": None,
    "tool_calls": [],
    "thoughts": [],
    "sources": [],
    "usage": None,
    "error": None,
}

CONVERSATION: dict[str, Any] = {
    "id": _CONVERSATION,
    "provider": "openai",
    "created_at": "2026-11-23T08:00:00.000Z",
    "updated_at": "2026-11-23T08:00:02.150Z",
    "user_id": "user:7",
    "messages": [
        _LOGGED | {"id": "122", "role": "user", "content": _QUESTION, "timestamp": "2026-11-23T08:00:00.000Z"},
        _LOGGED
        | {"id": "123", "role": "assistant", "content": _ANSWER, "timestamp": "2026-11-23T08:00:02.150Z"}
        | {"provider": "openai", "model": _MODEL, "finish_reason": "stop", "usage": _USAGE},
    ],
    "active_turns": [],
}

EVENTS: dict[str, dict[str, Any]] = {
    "start": {"turn_id": _TURN, "conversation_id": _CONVERSATION, "provider": "openai", "model": _MODEL},
    "token": {"text": "السَّلْسَبيلُ: الماءُ "},
    "thought": {"text": "أنظرُ أوّلًا في الجذر."},
    "tool_call": {"id": "call_1", "name": "search_root", "arguments": {"root": "سلم"}},
    "source": {
        "id": "1",
        "type": "web",
        "title": "لسان العرب",
        "url": "https://example.com/lisan",
        "snippet": None,
        "description": None,
    },
    "status": {"state": "retrying", "provider": "openai", "model": _MODEL},
    "done": REPLY,
    "failed": FAILURE,
}
"""The data of each event of a stream."""

EVENT_ID = f"{_TURN}.27"
TURN_ID = _TURN
CONVERSATION_ID = _CONVERSATION
