"""A stretch of tape as JSON and back, for its way through the relay."""

from typing import Any

from gateway.core.events import Rerouted, SourceFound
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import ToolCall
from gateway.core.tape import Item, Stretch, Tape


def encode_tape(tape: Tape, position: int) -> bytes:
    """What stands behind `position`, and that it belongs there."""
    pieces: list[list[Any]] = []
    for piece, _ in tape.since(position):
        match piece:
            case Stretch(kind, text):
                pieces.append([kind, text])
            case ToolCall(call_id, name, arguments, raw):
                pieces.append(["call", call_id, name, arguments, raw])
            case SourceFound():
                pieces.append(["source", piece])
            case Rerouted(state, provider, model):
                pieces.append(["status", state, provider, model])
    return dumps([position, pieces])


def append_tape(tape: Tape, data: bytes) -> bool:
    """Write an encoded stretch where it belongs, leaving out what the tape holds already: a stretch may come twice.

    False, and nothing is written, when what stands before it is missing.
    """
    start, pieces = loads(data)
    if start > tape.end:
        return False
    for kind, *rest in pieces:
        known = tape.end - start
        if kind in ("text", "thought"):
            tape.write(kind, rest[0][known:], 0)
            start += len(rest[0])
        else:
            if not known:
                tape.mark(_item(kind, rest))
            start += 1
    return True


def _item(kind: str, values: list[Any]) -> Item:
    match kind:
        case "call":
            return ToolCall(*values)
        case "source":
            return SourceFound(**values[0])
        case _:
            return Rerouted(*values)
