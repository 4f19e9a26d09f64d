"""What the client gets: server-sent events, reply bodies and problem objects, as bytes.

An event id is `<turn id>.<position on the tape>`, the final one `<turn id>.end`; clients treat it as opaque.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, assert_never

from gateway.core.errors import KINDS, GatewayError
from gateway.core.events import Rerouted, SourceFound
from gateway.core.ids import turn_time
from gateway.core.jsontext import dumps, dumps_to_keep
from gateway.core.messages import ToolCall
from gateway.core.tape import Item, RunKind, Stretch, Tape
from gateway.core.turn import Thought, TurnBegun, TurnEnded, TurnError

RETRY_MS: Final = 1000
RETRY_LINE: Final = b"retry: %d\n" % RETRY_MS
MAX_STRETCH: Final = 16_384
PING: Final = b": ping\n\n"
FRAME_END: Final = b"\n\n"
END: Final = "end"


@dataclass(frozen=True, slots=True)
class EventId:
    """A parsed event id; `position` is None for the final event."""

    turn_id: str
    position: int | None


def parse_event_id(text: str) -> EventId | None:
    """Read an event id that this gateway gave, or return None."""
    turn_id, dot, place = text.rpartition(".")
    if not dot or turn_time(turn_id) is None:
        return None
    if place == END:
        return EventId(turn_id, None)
    if not (place.isascii() and place.isdigit() and len(place) <= 12):
        return None
    return EventId(turn_id, int(place))


def start_frame(begun: TurnBegun) -> bytes:
    """The first event of every stream."""
    data = {
        "turn_id": begun.turn_id,
        "conversation_id": begun.conversation_id,
        "provider": begun.provider,
        "model": begun.model,
    }
    return _frame(begun.turn_id, "0", "start", data, RETRY_MS)


def _text_frame(turn_id: str, kind: RunKind, text: str, end: int) -> bytes:
    name = b"token" if kind == "text" else b"thought"
    return b"id: %b.%d\nevent: %b\ndata: %b\n\n" % (turn_id.encode(), end, name, dumps({"text": text}))


def _item_frame(turn_id: str, item: Item, end: int) -> bytes:
    match item:
        case ToolCall():
            return _frame(turn_id, str(end), "tool_call", call_body(item))
        case SourceFound():
            return _frame(turn_id, str(end), "source", source_body(item))
        case Rerouted(state, provider, model):
            if not provider:
                return b""
            return _frame(turn_id, str(end), "status", {"state": state, "provider": provider, "model": model})
        case _:
            assert_never(item)


TextFrame = Callable[[str, RunKind, str, int], bytes]
"""Renders text of a turn (its id, the kind of text, the text, the position behind it)."""
ItemFrame = Callable[[str, Item, int], bytes]
"""Renders anything else on a tape (the turn's id, the item, the position behind it)."""


def tape_frames(
    turn_id: str,
    tape: Tape,
    position: int,
    limit: int,
    text_frame: TextFrame = _text_frame,
    item_frame: ItemFrame = _item_frame,
) -> tuple[bytes, int]:
    """Frames for what stands behind `position`, and the position they reach.

    Stops after about `limit` characters, so that a reader who is far behind is served in bounded pieces.
    """
    run = tape.run_from(position)
    if run is not None:
        # What a reader wants who keeps up: the newest piece of text, and nothing to look for.
        text = run.slice(position - tape.end + run.length, min(limit, MAX_STRETCH))
        position += len(text)
        return text_frame(turn_id, run.kind, text, position), position
    frames: list[bytes] = []
    size = 0
    for piece, end in tape.since(position, limit):
        if isinstance(piece, Stretch):
            frames.extend(_stretch_frames(turn_id, piece, end, text_frame))
            size += len(piece.text)
        else:
            frames.append(item_frame(turn_id, piece, end))
            size += len(frames[-1])
        position = end
        if size >= limit:
            break
    return b"".join(frames), position


def _stretch_frames(turn_id: str, stretch: Stretch, end: int, text_frame: TextFrame) -> Iterator[bytes]:
    begin = end - len(stretch.text)
    for start in range(0, len(stretch.text), MAX_STRETCH):
        text = stretch.text[start : start + MAX_STRETCH]
        yield text_frame(turn_id, stretch.kind, text, begin + start + len(text))


def done_frame(turn_id: str, body: bytes) -> bytes:
    """The last event of a completed or stopped turn; `body` is what POST /chat answers."""
    return done_head(turn_id) + body + FRAME_END


def done_head(turn_id: str) -> bytes:
    """What stands before the body in the last event; `FRAME_END` stands behind it."""
    return b"retry: 0\nid: %b.end\nevent: done\ndata: " % turn_id.encode()


def failed_frame(turn_id: str, problem: dict[str, Any]) -> bytes:
    """The last event of a failed or interrupted turn."""
    return _frame(turn_id, END, "failed", problem, 0)


def _frame(turn_id: str, place: str, event: str, data: object, retry: int | None = None) -> bytes:
    head = f"retry: {retry}\n" if retry is not None else ""
    return f"{head}id: {turn_id}.{place}\nevent: {event}\ndata: ".encode() + dumps(data) + b"\n\n"


def reply_body(begun: TurnBegun, ended: TurnEnded, message_id: int | None, conversation_id: str) -> bytes:
    """The JSON that POST /chat answers and `done` carries; `message_id` None means the turn waits in the spool."""
    reply, usage = ended.reply, ended.reply.usage
    body: dict[str, Any] = {
        "message_id": None if message_id is None else str(message_id),
        "content": reply.content,
        "tool_calls": [call_body(call) for call in reply.tool_calls],
        "thoughts": [thought_body(thought) for thought in reply.thoughts],
        "sources": [source_body(source) for source in reply.sources],
        "turn_id": begun.turn_id,
        "conversation_id": conversation_id,
        "provider": ended.provider,
        "model": ended.model,
        "status": ended.status,
        "finish_reason": reply.finish_reason,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost_usd": ended.cost_usd,
        },
        "logged": "spooled" if message_id is None else "stored",
    }
    if ended.attempts:
        body["attempts"] = [{"provider": tried.provider, "model": tried.model, "code": tried.code} for tried in ended.attempts]
    if begun.simulated:
        body["simulated"] = True
    if ended.cached:
        body["cached"] = True
    return dumps_to_keep(body)


def call_body(call: ToolCall) -> dict[str, Any]:
    """A tool call as clients see it."""
    body: dict[str, Any] = {"id": call.id, "name": call.name, "arguments": call.arguments}
    if call.arguments_text is not None:
        body["arguments_text"] = call.arguments_text
    return body


def thought_body(thought: Thought) -> dict[str, Any]:
    """A thought as clients see it."""
    return {
        "iteration": thought.iteration,
        "content": thought.content,
        "tool_calls": list(thought.tool_calls),
        "timestamp": thought.timestamp,
    }


def source_body(source: SourceFound) -> dict[str, Any]:
    """A citation as clients see it."""
    return {
        "id": source.id,
        "type": source.type,
        "title": source.title,
        "url": source.url,
        "snippet": source.snippet,
        "description": source.description,
    }


def problem_body(error: GatewayError, request_id: str, turn_id: str | None = None) -> dict[str, Any]:
    """An RFC 9457 problem object."""
    kind = KINDS[error.code]
    body: dict[str, Any] = {
        "type": f"urn:problem:{error.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    turn_id = turn_id or error.turn_id
    if turn_id:
        body["turn_id"] = turn_id
    if error.retry_after is not None:
        body["retry_after"] = whole_seconds(error.retry_after)
    if error.fields:
        body["errors"] = [{"loc": loc, "msg": msg} for loc, msg in error.fields]
    return body


def whole_seconds(retry_after: float) -> int:
    """A time to wait as `Retry-After` takes it."""
    return max(1, round(retry_after))


def turn_error(error: TurnError, turn_id: str) -> GatewayError:
    """A stored error as the one that is raised."""
    return GatewayError(error.code, error.detail, retryable=error.retryable, retry_after=error.retry_after, turn_id=turn_id)


def failed_body(begun: TurnBegun, error: TurnError) -> dict[str, Any]:
    """What `failed` carries."""
    raised = turn_error(error, begun.turn_id)
    return problem_body(raised, begun.request_id, begun.turn_id) | {"retryable": error.retryable}
