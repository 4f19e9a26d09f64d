"""A stretch of tape as JSON and back, for its way through the relay."""

from typing import Any

from gateway.core.events import Rerouted, SourceFound
from gateway.core.jsontext import dumps, loads
from gateway.core.messages import ToolCall
from gateway.core.tape import Stretch, Tape


def encode_tape(tape: Tape, position: int) -> bytes:
    """What stands behind `position`."""
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
    return dumps(pieces)


def append_tape(tape: Tape, data: bytes) -> None:
    """Write an encoded stretch behind what the tape holds."""
    for kind, *rest in loads(data):
        match kind:
            case "text" | "thought":
                tape.write(kind, rest[0], 0)
            case "call":
                tape.mark(ToolCall(*rest))
            case "source":
                tape.mark(SourceFound(**rest[0]))
            case "status":
                tape.mark(Rerouted(*rest))
