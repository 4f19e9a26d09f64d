"""What processes tell each other about running turns: who runs which, and the letters they exchange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.turn import TurnBegun, TurnError, TurnRecord


@dataclass(frozen=True, slots=True)
class RelayTurn:
    """A turn that runs in `process`. Others learn of it without its question and its tool results."""

    begun: TurnBegun
    process: str


@dataclass(frozen=True, slots=True)
class Follow:
    """`process` wants what turns (by id) have on their tapes behind a position.

    Who does not say so every few seconds counts as gone. `again`: what may have been sent before did not arrive.
    """

    process: str
    turns: Mapping[str, int]
    again: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """`process` has no reader of these turns any more."""

    process: str
    turn_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopTurn:
    """End a turn, keeping what has come."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """A conversation was deleted, or a caller's turns in it, or (`conversation_id` None) everywhere."""

    conversation_id: str | None
    caller: str | None


@dataclass(frozen=True, slots=True)
class TapeGrown:
    """What stands on a turn's tape behind `position`, encoded by the engine."""

    turn_id: str
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TurnOver:
    """A turn ended, its tape at `position`.

    `record` tells how, `conversation_id` and `message_id` where it lies in the log (None: in the spool). A turn that could not
    be logged has an `error` instead.
    """

    turn_id: str
    position: int
    record: TurnRecord | None = None
    conversation_id: str = ""
    message_id: int | None = None
    error: TurnError | None = None


@dataclass(frozen=True, slots=True)
class TurnUnknown:
    """The process that was asked has no such turn (any more)."""

    turn_id: str


Letter = Follow | Leave | StopTurn | Forget | TapeGrown | TurnOver | TurnUnknown


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a process tells the relay at once: turns that run here from now on, turns that do no more, letters by recipient."""

    begun: Sequence[RelayTurn] = ()
    ended: Sequence[TurnBegun] = ()
    letters: Sequence[tuple[str, Letter]] = ()
