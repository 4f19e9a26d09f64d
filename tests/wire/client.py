"""Server-sent events as a client reads them, without the decoder under test."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One event."""

    name: str
    id: str
    data: dict[str, Any]
    retry: int | None = None


def received(data: bytes) -> list[Received]:
    """Every event of a stream; comments are left out."""
    blocks = [block for block in data.decode().split("\n\n") if block and not block.startswith(":")]
    events: list[Received] = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        retry = int(fields["retry"]) if "retry" in fields else None
        events.append(Received(fields["event"], fields["id"], json.loads(fields["data"]), retry))
    return events
