"""A stretch of tape as JSON and back, for its way to another process."""

from typing import Any, assert_never

from gateway.core.events import Rerouted, SourceFound
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import ToolCall
from gateway.core.tape import Item, Stretch, Tape


def encode_tape(tape: Tape, position: int, limit: int) -> tuple[bytes, int]:
    """What stands behind `position`, about `limit` characters of it at most, and the position that this reaches."""
    pieces: list[list[Any]] = []
    size = 0
    for piece, end in tape.since(position, limit):
        pieces.append(_encoded(piece))
        size += len(piece.text) if isinstance(piece, Stretch) else len(dumps(pieces[-1]))
        position = end
        if size >= limit:
            break
    return dumps(pieces), position


def append_tape(tape: Tape, position: int, data: bytes) -> bool:
    """Write an encoded stretch that begins at `position`, without what the tape has already; False when some is missing before.

    Raises `ValueError` when `data` holds no stretch.
    """
    if position > tape.end:
        return False
    known = tape.end - position
    try:
        for kind, *rest in loads(data):
            length = len(rest[0]) if kind in ("text", "thought") else 1
            if known < length:
                _append(tape, kind, rest, known)
            known = max(0, known - length)
    except (TypeError, IndexError) as error:
        raise ValueError(f"no tape: {error!r}") from error
    return True


def copy_tape(tape: Tape, source: Tape) -> None:
    """Write what `source` holds beyond the tape's end."""
    for piece, _ in source.since(tape.end):
        if isinstance(piece, Stretch):
            tape.write(piece.kind, piece.text, 0)
        else:
            tape.mark(piece)


def _encoded(piece: Stretch | Item) -> list[Any]:
    match piece:
        case Stretch(kind, text):
            return [kind, text]
        case ToolCall(call_id, name, arguments, raw):
            return ["call", call_id, name, arguments, raw]
        case SourceFound(kind, title, url, snippet, description, source_id):
            return ["source", kind, title, url, snippet, description, source_id]
        case Rerouted(state, provider, model):
            return ["status", state, provider, model]
        case _:
            assert_never(piece)


def _append(tape: Tape, kind: str, rest: list[Any], known: int) -> None:
    match kind:
        case "text" | "thought":
            tape.write(kind, rest[0][known:], 0)
        case "call":
            tape.mark(ToolCall(*rest))
        case "source":
            tape.mark(SourceFound(*rest))
        case "status":
            tape.mark(Rerouted(*rest))
        case _:
            raise ValueError(f"no piece of tape: {kind!r}")
