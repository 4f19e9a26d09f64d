"""What the rest of the gateway may ask of the log."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.core.letters import Letter, Parcel, RelayTurn
from gateway.core.messages import KeptState, Message
from gateway.core.turn import Reply, TurnBegun, TurnRecord, TurnStatus
from gateway.core.value import value


class StoreUnavailable(Exception):
    """The database cannot be reached, hangs, is read-only, full or out of connections: the same call may succeed later."""


class StoreRefused(Exception):
    """The database was reached and refuses this very data: repeating the call changes nothing."""


class BadQuery(ValueError):
    """The log cannot be asked like that; the text is a sentence for the client."""


@value
class Viewer:
    """Whose eyes look at the log. `everything`: an admin, or open mode with the log opened; else only `caller`'s own."""

    caller: str | None
    everything: bool = False


@value
class Stored:
    """Where a turn lies in the log. `conversation_id` differs from the record's when that conversation proved to be another
    caller's; `message_id` is None when the turn was dropped because its conversation had been deleted after it began."""

    conversation_id: str
    message_id: int | None


@value
class StoredTurn:
    """A turn read back. `message_id` is the assistant row's id."""

    record: TurnRecord
    message_id: int


@value
class ConversationFilter:
    """What `/conversations` was asked for; times are aware UTC, `min_cost` is US dollars."""

    limit: int = 50
    cursor: str | None = None
    provider: str | None = None
    user: str | None = None
    status: TurnStatus | None = None
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tool: str | None = None
    min_cost: float | None = None


@value
class Page:
    """JSON-ready rows, newest activity first, and the next page's cursor. `incomplete`: some messages are not searched yet."""

    conversations: list[dict[str, Any]]
    next_cursor: str | None
    incomplete: bool = False


class Store(Protocol):
    """The log. Every method raises `StoreUnavailable` when the database cannot serve it now, quickly, never hanging."""

    async def put(self, records: Sequence[TurnRecord]) -> list[Stored]:
        """Write whole turns in one statement, idempotently by turn id, answering in the order given.
        No two records may be of one conversation. Raises `StoreRefused` when the statement is refused for its data; then
        nothing of it was written."""
        ...

    async def access(self, conversation_id: str, caller: str | None) -> bool:
        """Whether `caller` may add to the conversation: it is new, ownerless or their own."""
        ...

    async def history(self, conversation_id: str, viewer: Viewer, limit: int) -> tuple[Message, ...]:
        """The last `limit` messages of completed and stopped turns, in order, starting at a question (more than `limit` only
        where the newest question lies further back). Assistant messages carry their kept state.
        Every call has exactly one result (one saying so where none came); those at the very end may be taken back for the tool
        entries of a request, which may be the repetition of a follow-up that failed. In a conversation
        without owner a viewer gets the turns that are theirs; nobody in particular gets those of nobody in particular."""
        ...

    async def states(self, conversation_id: str, call_ids: Sequence[str]) -> Mapping[str, KeptState]:
        """Kept provider states by call id, for those of `call_ids` that this conversation issued."""
        ...

    async def issued(self, conversation_id: str, caller: str | None) -> tuple[str, ...]:
        """Ids of the calls that tool results from `caller` may answer: all of the newest completed or stopped turn, in order
        (a follow-up that failed may come again), then older ones that are still without a result."""
        ...

    async def turn(self, turn_id: str) -> StoredTurn | None:
        """A stored turn, or None."""
        ...

    async def conversations(self, viewer: Viewer, wanted: ConversationFilter) -> Page:
        """One page of conversations. Raises `BadQuery`."""
        ...

    async def conversation(self, conversation_id: str, viewer: Viewer) -> dict[str, Any] | None:
        """A conversation with its messages, JSON-ready, or None when there is none for this viewer."""
        ...

    async def delete_conversation(self, conversation_id: str, viewer: Viewer) -> bool:
        """Delete it and remember the moment, so that no turn that began before is written later. False: none for them (yet:
        turns that run in it, the viewer's own or all for `everything`, will not be written either)."""
        ...

    async def statistics(self, since: datetime) -> dict[str, Any]:
        """Turns, tokens, cost, times and errors of the turns that ended since then, JSON-ready."""
        ...

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the database answers a trivial query promptly."""
        ...


class Exports(Protocol):
    """The log whole."""

    def conversations(self, viewer: Viewer, wanted: ConversationFilter) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Some at a time, by id, JSON-ready, with messages; without `limit` and `cursor`. Raises as `Store.conversations`."""
        ...


class Reports(Protocol):
    """The log as its operator looks at it. Methods raise `StoreUnavailable`; times are milliseconds unless they are aware
    datetimes, or ISO 8601 text, and rows are JSON-ready."""

    async def timeline(self, since: datetime, step_s: int) -> list[dict[str, Any]]:
        """Turns that ended since then, by `step` of `step_s` seconds (the first is 0) and `provider` (None: all together):
        `turns`, of these `stopped`, `interrupted`, `failed`; tokens, `cost_usd`, `first_p50_ms`, `first_p95_ms`."""
        ...

    async def callers(self, since: datetime) -> list[dict[str, Any]]:
        """Who asked since then, most turns first (200 at most): turns, failures, tokens, cost, `last_at`, `asked_today`."""
        ...

    async def failures(
        self, limit: int, before: int | None = None, code: str | None = None, provider: str | None = None
    ) -> list[dict[str, Any]]:
        """The newest failed and interrupted turns, with errors and attempts whole; `before` is the `id` of the last one seen."""
        ...

    async def turn_details(self, conversation_id: str) -> dict[str, dict[str, Any]]:
        """By turn id, what clients do not see of the turns of a conversation: times, attempts, the provider's own words."""
        ...

    async def outlines(self, conversation_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By conversation id: its `opening` (the first question's beginning), `turns`, `failures` and `cost_usd`."""
        ...


@value
class EarlierReply:
    """A reply as a client repeats it in its history: its text, the question before it (None: none), the ids of its calls."""

    text: str
    question: str | None
    call_ids: tuple[str, ...]


class Threads(Protocol):
    """Finds conversations by what was said in them."""

    async def find(self, caller: str | None, replies: Sequence[EarlierReply]) -> str | None:
        """The conversation in which `caller` got the first of `replies` that anybody here gave, newest turn first: by its calls
        where it has any, else by its text and question. Raises `StoreUnavailable`."""
        ...


@value
class Receipt:
    """What a finished turn gets: its place in PostgreSQL, or (`message_id` None) the promise of the journal."""

    conversation_id: str
    message_id: int | None


class JournalFull(Exception):
    """The journal is over its bound: no new turn may begin."""


class TurnLog(Protocol):
    """Where the engine reports a turn's life; every method is called on the event loop."""

    async def begin(self, begun: TurnBegun) -> None:
        """Return when the turn survives a kill of the process. Raises `JournalFull`."""
        ...

    def progress(self, begun: TurnBegun, reply: Reply) -> None:
        """Keep what has come so far; called about once a second."""
        ...

    async def put(self, record: TurnRecord) -> Receipt:
        """Return when the turn is in PostgreSQL, or fsynced in the journal."""
        ...

    def hurry(self) -> None:
        """The process ends: wait for the database no longer than a moment from now on."""
        ...


class Health(Protocol):
    """How the log fares, without asking the database."""

    @property
    def spooled(self) -> int:
        """Turns that wait in the journal for PostgreSQL."""
        ...

    @property
    def refused(self) -> int:
        """Turns that PostgreSQL refuses for their data; they stay in the journal."""
        ...

    @property
    def database_up(self) -> bool:
        """Whether the last write or probe reached PostgreSQL."""
        ...

    @property
    def journal_ok(self) -> bool:
        """Whether the journal could be written when last tried; while it cannot, no turn may begin."""
        ...


@value
class Claim:
    """Which turn an Idempotency-Key stands for, and of which request (`request_hash`)."""

    turn_id: str
    request_hash: str


class ClaimStore(Protocol):
    """Idempotency keys, durable for a day, exact across processes. Methods raise `StoreUnavailable`."""

    async def claim(self, caller: str | None, key: str, wanted: Claim, instead_of: str | None = None) -> Claim:
        """Bind the key to `wanted` unless it is bound already; return what it is bound to now.
        `instead_of` names a turn id that the key may be taken from (its turn failed in a way that frees the key)."""
        ...

    async def claimed(self, caller: str | None, key: str) -> Claim | None:
        """What the key is bound to."""
        ...

    async def unclaim(self, caller: str | None, key: str, turn_id: str) -> None:
        """Free the key if it is bound to this turn, which never came to be."""
        ...


class RelayUnavailable(Exception):
    """Redis cannot be reached now, or does not answer in time."""


class Relay(Protocol):
    """Knows which process runs a turn, and carries letters between processes. Methods raise `RelayUnavailable`, quickly."""

    async def send(self, parcel: Parcel, lifetime_s: int) -> None:
        """One round trip; after an error it may or may not have arrived. A turn is known for at most `lifetime_s`."""
        ...

    async def receive(self, process: str, done: Sequence[str], wait_s: float) -> list[tuple[str, Letter | None]]:
        """Letters to `process` with their ids, oldest first, waiting up to `wait_s` for one; None: it cannot be read.
        A letter comes again until its id is among those `done`."""
        ...

    async def locate(self, turn_id: str) -> RelayTurn | None:
        """A turn that runs, or ended a moment ago, in any process."""
        ...

    async def running(self, conversation_id: str) -> list[RelayTurn]:
        """The turns of a conversation that run in living processes, oldest first."""
        ...

    async def alive(self, process: str, seconds: int) -> bool:
        """Tell that a process lives; False: the relay did not know it (any more), nor its turns."""
        ...

    async def gone(self, process: str) -> None:
        """Tell that a process has ended: nobody waits until it has been silent for long."""
        ...

    async def living(self) -> set[str]:
        """The processes that have told so lately."""
        ...
