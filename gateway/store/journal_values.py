"""What is asked of a journal file, and what it answers."""

from dataclasses import dataclass, field

from gateway.core.turn import Reply, TurnRecord
from gateway.store.journal_begun import BegunFile
from gateway.store.journal_rows import Row


@dataclass(frozen=True, slots=True)
class Waiting:
    """A turn read back from the spool; `seq` is its place there, `size` its bytes."""

    seq: int
    size: int
    record: TurnRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """What the file holds: bytes of live rows, turns that wait, turns that the database refused."""

    live_bytes: int = 0
    spooled: int = 0
    refused: int = 0


@dataclass(slots=True)
class Writes:
    """What one transaction writes. `progress`: a reply so far and its time (Unix milliseconds) by running id; `full` is emptied
    behind it, when what is in it is here. `committed` tells whether it came as far as that, whatever failed then."""

    begins: list[tuple[int, bytes]] = field(default_factory=list)
    progress: dict[int, tuple[Reply, int]] = field(default_factory=dict)
    ends: list[Row] = field(default_factory=list)
    refusals: list[Row] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    full: BegunFile | None = None
    committed: bool = False

    def __bool__(self) -> bool:
        return bool(self.begins or self.full or self.more)

    @property
    def more(self) -> bool:
        """Whether there is anything but turns that begin."""
        return bool(self.gone or self.progress or self.ends or self.refusals)
