"""Which part of Gemini's turn carried which signature, so that the next round can put each back where it came from.

A `thoughtSignature` belongs to one part: of parallel calls only the first has one, a plain answer often carries it on a
last part without text (https://ai.google.dev/gemini-api/docs/thought-signatures). A client returns text and calls, not
parts, so the turn's parts are kept beside it:

    {"parts": [{"text": 12}, {"text": 0, "signature": "…"}, {"call": "get_entry", "id": "…", "signature": "…"}]}

`text` is a length in characters, `call` a function's name, `id` Gemini's own id of the call where it gave one.
"""

from dataclasses import dataclass
from typing import Any

from gateway.core.messages import AssistantMessage, ToolCall
from gateway.providers.common import as_dict, as_int, as_list, as_str


class PartLog:
    """Notes the parts of one reply as they come."""

    __slots__ = ("_needed", "_parts", "_unsigned")

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._unsigned = 0
        self._needed = False

    def text(self, length: int, signature: object) -> None:
        """Note a piece of visible text; unsigned neighbours count as one part."""
        if signature:
            self._add({"text": length}, signature)
        else:
            self._unsigned += length

    def call(self, name: str, call_id: str | None, signature: object) -> None:
        """Note a function call."""
        self._add({"call": name, "id": call_id} if call_id else {"call": name}, signature)
        self._needed = self._needed or call_id is not None

    def data(self) -> dict[str, Any] | None:
        """Return what must be kept, None when the turn can be replayed without."""
        if not self._needed:
            return None
        self._flush()
        return {"parts": self._parts}

    def _add(self, part: dict[str, Any], signature: object) -> None:
        self._flush()
        if signature and isinstance(signature, str):
            part["signature"] = signature
            self._needed = True
        self._parts.append(part)

    def _flush(self) -> None:
        if self._unsigned:
            self._parts.append({"text": self._unsigned})
            self._unsigned = 0


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One part of a past turn: text or a call, with Gemini's own id and signature where they are known."""

    text: str = ""
    call: ToolCall | None = None
    call_id: str | None = None
    signature: str | None = None


def restore(message: AssistantMessage, provider: str) -> tuple[ModelPart, ...]:
    """Return the parts of `message`: as they were, where what `provider` said of them fits, else text before calls.

    A client may have changed the text; then signatures on text are lost, those of the calls are not.
    """
    state = message.state
    kept = as_list(state.data.get("parts")) if state is not None and state.provider == provider else []
    parts = [as_dict(part) for part in kept]
    calls = [part for part in parts if "call" in part]
    text_length = sum(as_int(part.get("text")) or 0 for part in parts)
    named = [call.name for call in message.tool_calls]
    if named == [part["call"] for part in calls] and text_length == len(message.text):
        return _as_they_were(message, parts)
    return (ModelPart(text=message.text), *_calls(message, calls))


def _as_they_were(message: AssistantMessage, parts: list[dict[str, Any]]) -> tuple[ModelPart, ...]:
    calls = iter(message.tool_calls)
    restored: list[ModelPart] = []
    at = 0
    for part in parts:
        if "call" in part:
            restored.append(_called(next(calls), part))
        else:
            length = as_int(part.get("text")) or 0
            restored.append(ModelPart(text=message.text[at : at + length], signature=as_str(part.get("signature")) or None))
            at += length
    return tuple(restored)


def _calls(message: AssistantMessage, kept: list[dict[str, Any]]) -> list[ModelPart]:
    padded = kept + [{}] * len(message.tool_calls)
    pairs = zip(message.tool_calls, padded, strict=False)
    return [_called(call, part if part.get("call") == call.name else {}) for call, part in pairs]


def _called(call: ToolCall, part: dict[str, Any]) -> ModelPart:
    return ModelPart(call=call, call_id=as_str(part.get("id")) or None, signature=as_str(part.get("signature")) or None)
