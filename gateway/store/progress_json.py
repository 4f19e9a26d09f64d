"""What has come of a running reply, as a row of chunks that each hold only what is new.

A chunk says behind which lengths it belongs (`base`: text, thoughts, calls, sources), so that writing a long reply down again
and again costs as much as writing it down once. Replies only grow; one that shrank is written whole again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.events import FinishReason, SourceFound, UsageReported
from gateway.core.jsontext import loads
from gateway.core.messages import ToolCall
from gateway.core.turn import Reply, Thought, TurnBegun, TurnEnded, TurnError, TurnRecord
from gateway.store import record_json

EMPTY: Final = Reply("", (), (), (), UsageReported(), None, "", None)
INTERRUPTED: Final = TurnError(
    "interrupted", "The server stopped before the reply was whole; please try again.", retryable=True, retry_after=1
)


@dataclass(frozen=True, slots=True)
class Marks:
    """How much of a reply is written: lengths and counts, and how many chunks that took."""

    text: int = 0
    thoughts: int = 0
    last_thought: int = 0
    calls: int = 0
    sources: int = 0
    state: dict[str, Any] | None = None
    parts: int = 0


@dataclass(frozen=True, slots=True)
class _Chunk:
    at: int
    base: tuple[int, int, int, int]
    grown: int
    text: str
    thoughts: tuple[Thought, ...]
    calls: tuple[ToolCall, ...]
    sources: tuple[SourceFound, ...]
    usage: UsageReported
    finish_reason: FinishReason | None
    layout: str
    state: dict[str, Any] | None
    state_changed: bool


@dataclass(frozen=True, slots=True)
class Partial:
    """A reply as far as it was written, at `at_ms` (Unix milliseconds)."""

    reply: Reply
    at_ms: int


def encode_chunk(marks: Marks, reply: Reply, at_ms: int) -> tuple[bytes, Marks]:
    """Encode what `reply` has beyond `marks`; return it with the marks behind it."""
    if _shrank(marks, reply):
        marks = Marks(parts=marks.parts)
    known = max(0, marks.thoughts - 1)
    changed = reply.state is not marks.state
    chunk = _Chunk(
        at=at_ms,
        base=(marks.text, known, marks.calls, marks.sources),
        grown=marks.last_thought,
        text=reply.content[marks.text :],
        thoughts=_grown(reply.thoughts[known:], marks.last_thought),
        calls=reply.tool_calls[marks.calls :],
        sources=reply.sources[marks.sources :],
        usage=reply.usage,
        finish_reason=reply.finish_reason,
        layout=reply.layout,
        state=reply.state if changed else None,
        state_changed=changed,
    )
    return record_json.encode(chunk), _marks(reply, marks.parts + 1)


def _shrank(marks: Marks, reply: Reply) -> bool:
    return (
        len(reply.content) < marks.text
        or len(reply.thoughts) < marks.thoughts
        or (marks.thoughts > 0 and len(reply.thoughts[marks.thoughts - 1].content) < marks.last_thought)
        or len(reply.tool_calls) < marks.calls
        or len(reply.sources) < marks.sources
    )


def _grown(thoughts: tuple[Thought, ...], known: int) -> tuple[Thought, ...]:
    if not thoughts or not known:
        return thoughts
    first = thoughts[0]
    return (replace(first, content=first.content[known:]), *thoughts[1:])


def _marks(reply: Reply, parts: int) -> Marks:
    last = len(reply.thoughts[-1].content) if reply.thoughts else 0
    calls, sources = len(reply.tool_calls), len(reply.sources)
    return Marks(len(reply.content), len(reply.thoughts), last, calls, sources, reply.state, parts)


def assemble(chunks: Iterable[bytes]) -> Partial | None:
    """Put a reply together from its chunks, in order, up to the first that does not fit; None when there is none."""
    partial: Partial | None = None
    for chunk in chunks:
        try:
            partial = _add(partial.reply if partial else EMPTY, loads(chunk))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            break
    return partial


def _add(reply: Reply, chunk: dict[str, Any]) -> Partial:
    text, thoughts, calls, sources = chunk["base"]
    if text > len(reply.content) or calls > len(reply.tool_calls) or sources > len(reply.sources):
        raise ValueError("a chunk is missing")
    return Partial(
        Reply(
            content=reply.content[:text] + chunk["text"],
            tool_calls=reply.tool_calls[:calls] + record_json.decode_calls(chunk["calls"]),
            thoughts=_thoughts(reply.thoughts, thoughts, chunk),
            sources=reply.sources[:sources] + record_json.decode_sources(chunk["sources"]),
            usage=record_json.decode_usage(chunk["usage"]),
            finish_reason=chunk["finish_reason"],
            layout=chunk["layout"],
            state=chunk["state"] if chunk["state_changed"] else reply.state,
        ),
        chunk["at"],
    )


def _thoughts(known: tuple[Thought, ...], index: int, chunk: dict[str, Any]) -> tuple[Thought, ...]:
    new, grown = record_json.decode_thoughts(chunk["thoughts"]), chunk["grown"]
    if grown:
        new = (replace(new[0], content=known[index].content[:grown] + new[0].content), *new[1:])
    return known[:index] + new


def interrupted(begun: TurnBegun, chunks: Iterable[bytes]) -> TurnRecord:
    """The record of a turn whose process died: what had come is kept."""
    partial = assemble(chunks) or Partial(EMPTY, begun.started_ms)
    return TurnRecord(
        begun,
        TurnEnded("interrupted", begun.provider, begun.model, partial.reply, partial.at_ms, error=INTERRUPTED),
    )
