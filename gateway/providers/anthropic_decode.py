"""Anthropic's replies as events: a stream of named events, or one whole message with the same content blocks.

Blocks are chosen by their type and never by their place. Only `tool_use` is a call of the client's; `server_tool_use`,
`mcp_tool_use` and their results ran at the provider, and all that is taken from them is the sources.
Source: the Messages API reference, "Streaming messages", and the types of the vendor's SDK (anthropic 2.12).
"""

from dataclasses import dataclass, field
from typing import Any

from gateway.core.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    SourceFound,
    Started,
    StateKept,
    TextDelta,
    ToolCalled,
    UsageReported,
)
from gateway.core.fold import parse_arguments
from gateway.core.jsontext import is_object, loads
from gateway.providers.anthropic_errors import stream_error
from gateway.providers.anthropic_state import keep, sendable
from gateway.providers.common import as_dict, as_int, as_list, as_str, broken, truncated
from gateway.providers.repeats import Repeats
from gateway.wire.sse import Frame

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


@dataclass(slots=True)
class _Block:
    """A content block as it grows. `start` is how it was announced; `pieces` are its text, thinking or input JSON."""

    type: str
    start: dict[str, Any]
    pieces: list[str] = field(default_factory=list)
    signature: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def arguments(self) -> str | dict[str, Any]:
        """JSON text, or the object that stood whole in the announcement; no text at all means no arguments."""
        return self.text if self.text.strip() else as_dict(self.start.get("input"))


class MessageDecoder:
    """Decodes one reply; see `gateway.providers.base.Decoder`."""

    __slots__ = ("_blocks", "_counts", "_open", "_started", "_stop_reason", "repeats")

    def __init__(self) -> None:
        self.repeats = Repeats()
        self._blocks: list[_Block] = []
        self._open: dict[int, _Block] = {}
        self._counts: dict[str, int | None] = {}
        self._started = False
        self._stop_reason: str | None = None

    def feed(self, frame: Frame) -> list[Event]:
        """Events of one frame. Duplicates of an event (seen: `message_start`) change nothing."""
        try:
            data = loads(frame.data)
        except ValueError:
            return [Failed(broken(upstream_text=frame.data.decode("utf-8", "replace")))]
        if not isinstance(data, dict):
            return []
        kind = data.get("type")
        if kind == "content_block_delta":
            delta = data.get("delta")
            index = data.get("index")
            block = self._open.get(index) if isinstance(index, int) else None
            events = _delta(block, delta) if isinstance(delta, dict) else []
            if len(events) == 1 and isinstance(events[0], TextDelta):
                self.repeats.learn(frame, events[0].text, None if block is None else block.pieces)
            return events
        # What follows may be of another block.
        self.repeats.forget()
        match kind:
            case "content_block_start":
                return self._open_block(_index(data), as_dict(data.get("content_block")))
            case "content_block_stop":
                return self._close_block(_index(data))
            case "message_start":
                return self._start(as_dict(data.get("message")))
            case "message_delta":
                return self._message_delta(as_dict(data.get("delta")), as_dict(data.get("usage")))
            case "message_stop":
                return self._finish()
            case "error":
                return [Failed(stream_error(data, frame.data))]
            case _:
                return []

    def end(self, stray: str) -> list[Event]:
        """EOF before `message_stop`: the stop reason comes behind all content, so with one the reply is whole."""
        return [truncated()] if self._stop_reason is None else self._finish()

    def whole(self, message: dict[str, Any]) -> list[Event]:
        """All events of a whole message."""
        events = self._start(message)
        for index, block in enumerate(as_list(message.get("content"))):
            events += self._open_block(index, as_dict(block))
            events += self._close_block(index)
        self._stop_reason = as_str(message.get("stop_reason"))
        return events + self._finish()

    def _start(self, message: dict[str, Any]) -> list[Event]:
        events: list[Event] = [] if self._started else [Started(as_str(message.get("model")))]
        self._started = True
        return events + self._count(as_dict(message.get("usage")))

    def _open_block(self, index: int, start: dict[str, Any]) -> list[Event]:
        # A block whose end was lost ends where the next one takes its place.
        events = self._close_block(index)
        block = _Block(as_str(start.get("type")) or "", start)
        self._blocks.append(block)
        self._open[index] = block
        match block.type:
            case "text":
                events += _written(block, start.get("text"), TextDelta)
                for citation in as_list(start.get("citations")):
                    events += _citation(citation)
            case "thinking":
                block.signature = as_str(start.get("signature")) or ""
                events += _written(block, start.get("thinking"), ReasoningDelta)
            case "web_search_tool_result":
                for result in as_list(start.get("content")):
                    events += _source(result, "web_search_result", as_dict(result).get("title"))
            case "web_fetch_tool_result":
                result = as_dict(start.get("content"))
                events += _source(result, "web_fetch_result", as_dict(result.get("content")).get("title"))
            case _:
                pass
        return events

    def _close_block(self, index: int) -> list[Event]:
        block = self._open.pop(index, None)
        if block is None or block.type != "tool_use":
            return []
        name = as_str(block.start.get("name"))
        return [ToolCalled(as_str(block.start.get("id")), name, block.arguments)] if name else []

    def _message_delta(self, delta: dict[str, Any], usage: dict[str, Any]) -> list[Event]:
        self._stop_reason = as_str(delta.get("stop_reason")) or self._stop_reason
        return self._count(usage)

    def _count(self, usage: dict[str, Any]) -> list[Event]:
        """`message_delta` repeats the counts of `message_start`, grown or changed: of each field the last one holds."""
        found = {name: as_int(usage.get(name)) for name in _COUNTS}
        found["thinking_tokens"] = as_int(as_dict(usage.get("output_tokens_details")).get("thinking_tokens"))
        found = {name: count for name, count in found.items() if count is not None}
        if not found:
            return []
        self._counts |= found
        counts = self._counts
        plain = counts.get("input_tokens")
        read, written = counts.get("cache_read_input_tokens"), counts.get("cache_creation_input_tokens")
        return [
            UsageReported(
                input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
                output_tokens=counts.get("output_tokens"),
                cached_tokens=read,
                reasoning_tokens=counts.get("thinking_tokens"),
                cache_write_tokens=written,
            )
        ]

    def _finish(self) -> list[Event]:
        events = [event for index in tuple(self._open) for event in self._close_block(index)]
        state = keep([part for block in self._blocks if (part := _content(block)) is not None])
        if state is not None:
            events.append(StateKept(state))
        events.append(Finished(_FINISH.get(self._stop_reason or "", "stop")))
        return events


def decode_reply(body: bytes) -> list[Event]:
    """Return the events of a whole reply, the last of them terminal."""
    try:
        message = loads(body)
    except ValueError:
        message = None
    if is_object(message) and message.get("type") == "error":
        return [Failed(stream_error(message, body))]
    if not is_object(message) or not isinstance(message.get("content"), list):
        return [Failed(broken(upstream_text=body.decode("utf-8", "replace")))]
    return MessageDecoder().whole(message)


def _index(data: dict[str, Any]) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else -1


def _delta(block: _Block | None, delta: dict[str, Any]) -> list[Event]:
    kind = delta.get("type")
    if kind == "text_delta":
        return _written(block, delta.get("text"), TextDelta)
    match kind:
        case "thinking_delta":
            return _written(block, delta.get("thinking"), ReasoningDelta)
        case "input_json_delta" if block is not None:
            block.pieces.append(as_str(delta.get("partial_json")) or "")
        case "signature_delta" if block is not None:
            block.signature = as_str(delta.get("signature")) or block.signature
        case "citations_delta":
            return _citation(delta.get("citation"))
        case _:
            pass
    return []


def _written(block: _Block | None, text: Any, event: type[TextDelta] | type[ReasoningDelta]) -> list[Event]:
    if not isinstance(text, str) or not text:
        return []
    if block is not None:
        block.pieces.append(text)
    return [event(text)]


def _citation(citation: Any) -> list[Event]:
    """Web citations name a page, others a document of the request; `search_result_location` has its URL in `source`."""
    cited = as_dict(citation)
    kind = as_str(cited.get("type"))
    if not kind:
        return []
    return [
        SourceFound(
            kind,
            title=as_str(cited.get("title")) or as_str(cited.get("document_title")),
            url=as_str(cited.get("url")) or as_str(cited.get("source")),
            snippet=as_str(cited.get("cited_text")),
        )
    ]


def _source(result: Any, kind: str, title: Any) -> list[Event]:
    """A server tool's failure stands in the place of its result and has another type."""
    found = as_dict(result)
    if found.get("type") != kind:
        return []
    return [SourceFound(kind, title=as_str(title), url=as_str(found.get("url")))]


def _content(block: _Block) -> dict[str, Any] | None:
    """Return the block as the next request must hold it, None if it has no place there."""
    match block.type:
        case "text":
            return sendable({"type": "text", "text": block.text})
        case "thinking":
            return sendable({"type": "thinking", "thinking": block.text, "signature": block.signature})
        case "tool_use":
            arguments, _ = parse_arguments(block.arguments)
            return sendable(block.start | {"input": arguments})
        case _:
            return sendable(block.start)
