"""The engine: owns every running turn's task, its place in the log and its end."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Event, Failed, Finished, UsageReported
from gateway.core.fold import Fold
from gateway.core.ids import new_turn_id
from gateway.core.messages import KeptState
from gateway.core.turn import TurnBegun, TurnEnded, TurnError, TurnRecord, TurnStatus
from gateway.engine.abandon import Abandonment
from gateway.engine.attempts import Attempts
from gateway.engine.kept import KeptTurns
from gateway.engine.live import LiveTurn
from gateway.engine.prompt import Prepared
from gateway.engine.recent import RecentCalls
from gateway.engine.replay import outcome_of
from gateway.engine.routing import Choice
from gateway.store.base import JournalFull, Receipt, TurnLog

log = logging.getLogger(__name__)

PROGRESS_S: Final = 1.0

Price = Callable[[str, str, UsageReported], float | None]


class Watcher(Protocol):
    """Hears of every turn of this process; called on the event loop, so it must be quick."""

    def begun(self, turn: LiveTurn) -> None:
        """A turn was accepted."""
        ...

    def grown(self, turn: LiveTurn) -> None:
        """Its tape has grown."""
        ...

    def ended(self, turn: LiveTurn, record: TurnRecord, receipt: Receipt) -> None:
        """It ended and is logged."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a turn: seconds, bytes of reply text, turns at once."""

    turn_timeout_s: float
    abandon_s: float
    max_reply_bytes: int
    max_active_turns: int


@dataclass(frozen=True, slots=True)
class NewTurn:
    """An authorised, prepared request."""

    conversation_id: str
    caller: str | None
    choice: Choice
    prepared: Prepared
    request_hash: str
    request_id: str
    idempotency_key: str | None
    streamed: bool
    simulated: bool
    turn_id: str | None = None


@dataclass(slots=True)
class _Run:
    """A running turn; `ending` is set once somebody asked for its end, `generating` while its task may be cancelled."""

    turn: LiveTurn
    new: NewTurn
    task: asyncio.Task[None] | None = None
    ending: TurnStatus | None = None
    abandoned: bool = False
    generating: bool = False


class Engine:
    """Starts turns, finds them again, stops them.

    `watchers` hear of every turn; `abandonment` gives up those that nobody reads.
    """

    def __init__(self, attempts: Attempts, turn_log: TurnLog, recent: RecentCalls, limits: Limits, price: Price) -> None:
        self._attempts = attempts
        self._log = turn_log
        self._recent = recent
        self._limits = limits
        self._price = price
        self._runs: dict[str, _Run] = {}
        self._kept = KeptTurns()
        self.watchers: list[Watcher] = []
        self.abandonment = Abandonment(limits.abandon_s, lambda turn: self.stop(turn, abandoned=True))
        self.draining = False

    @property
    def active(self) -> int:
        """How many turns are running."""
        return len(self._runs)

    def start(self, new: NewTurn) -> LiveTurn:
        """Begin a turn in a task of its own. Raises `GatewayError`: `overloaded`, `shutting_down`."""
        if self.draining:
            raise GatewayError("shutting_down", "The server is restarting; try again in a moment.", retry_after=5)
        if len(self._runs) >= self._limits.max_active_turns:
            raise GatewayError("overloaded", "The server is busy; try again in a moment.", retry_after=5)
        turn = LiveTurn(_begun(new), Fold(time.time), self.abandonment.left_alone)
        run = _Run(turn, new)
        self._runs[turn.begun.turn_id] = run
        run.task = asyncio.get_running_loop().create_task(self._run(run), name=turn.begun.turn_id)
        return turn

    def find(self, turn_id: str) -> LiveTurn | None:
        """A turn that runs here, or ended here lately."""
        run = self._runs.get(turn_id)
        return run.turn if run else self._kept.get(turn_id)

    def running_in(self, conversation_id: str) -> list[LiveTurn]:
        """The turns of a conversation that run here."""
        return [run.turn for run in self._runs.values() if run.turn.begun.conversation_id == conversation_id]

    def forget_conversation(self, conversation_id: str) -> None:
        """A conversation was deleted: stop its turns and remember nothing of it."""
        for turn in self.running_in(conversation_id):
            self.stop(turn)
        self._recent.forget(conversation_id)
        self._kept.forget_conversation(conversation_id)

    def stop(self, turn: LiveTurn, *, status: TurnStatus = "stopped", abandoned: bool = False) -> bool:
        """End a running turn, keeping what has come; False when it has ended (or is ending) already."""
        run = self._runs.get(turn.begun.turn_id)
        if run is None or run.task is None or run.ending is not None or turn.fold.terminal is not None:
            return False
        run.ending, run.abandoned = status, abandoned
        if run.generating:
            run.task.cancel()
        return True

    async def drain(self, patience_s: float) -> None:
        """Let running turns finish for a while, then end the rest as interrupted; returns when all are logged."""
        self.draining = True
        await self._wait_for_runs(patience_s)
        for run in list(self._runs.values()):
            self.stop(run.turn, status="interrupted")
        await self._wait_for_runs(None)

    async def _wait_for_runs(self, timeout_s: float | None) -> None:
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def _run(self, run: _Run) -> None:
        turn = run.turn
        try:
            await self._log.begin(turn.begun)
            for watcher in self.watchers:
                watcher.begun(turn)
            status = run.ending or await self._generate(run)
            await self._finish(turn, self._ended(run, status))
            self._kept.add(turn)
        except JournalFull:
            error = TurnError("overloaded", "The server cannot keep more turns now; try again later.", True, 30)
            ended = self._ended(run, "failed", error)
            turn.end(outcome_of(turn.begun, ended, None, turn.begun.conversation_id))
        finally:
            del self._runs[turn.begun.turn_id]

    async def _generate(self, run: _Run) -> TurnStatus:
        turn, fold = run.turn, run.turn.fold
        run.generating = True
        try:
            async with asyncio.timeout(self._limits.turn_timeout_s):
                await self._consume(run)
        except TimeoutError:
            fold.add(Failed(GatewayError("provider_timeout", "The reply took longer than the server allows.")))
        except GatewayError as error:
            fold.add(Failed(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if run.ending is None or task is None:
                raise
            task.uncancel()
            return run.ending
        except Exception:
            log.exception("a turn broke", extra={"turn_id": turn.begun.turn_id})
            fold.add(Failed(GatewayError("internal_error", "The server made a mistake; please try again.")))
        finally:
            run.generating = False
        return "completed" if isinstance(fold.terminal, Finished) else "failed"

    async def _consume(self, run: _Run) -> None:
        turn, new = run.turn, run.new
        saved = time.monotonic()
        events = self._attempts.events(new.choice, new.prepared.prompt, stream=new.streamed)
        async with aclosing(events) as batches:
            async for batch in batches:
                self._take(turn, batch)
                if (now := time.monotonic()) - saved >= PROGRESS_S:
                    saved = now
                    self._log.progress(turn.begun, turn.fold.reply())

    def _take(self, turn: LiveTurn, batch: list[Event]) -> None:
        fold = turn.fold
        before = fold.tape.end
        for event in batch:
            fold.add(event)
        if fold.size > self._limits.max_reply_bytes:
            raise GatewayError("provider_error", "The reply was longer than the server allows.", retryable=False)
        if fold.tape.end != before:
            turn.publish()
            for watcher in self.watchers:
                watcher.grown(turn)

    def _ended(self, run: _Run, status: TurnStatus, error: TurnError | None = None) -> TurnEnded:
        turn, choice = run.turn, run.new.choice
        reply = turn.fold.reply()
        return TurnEnded(
            status=status,
            provider=choice.target.name,
            model=choice.model,
            reply=reply,
            ended_ms=time.time_ns() // 1_000_000,
            first_output_ms=turn.first_output_ms,
            cost_usd=self._price(choice.target.name, choice.model, reply.usage),
            error=error or _error(status, turn.fold),
            abandoned=run.abandoned,
        )

    async def _finish(self, turn: LiveTurn, ended: TurnEnded) -> None:
        begun, reply = turn.begun, ended.reply
        record = TurnRecord(begun, ended)
        receipt = await self._log.put(record)
        if ended.status in ("completed", "stopped"):
            state = KeptState(ended.provider, ended.model, reply.state) if reply.state is not None else None
            self._recent.remember(receipt.conversation_id, reply.tool_calls, state)
        turn.end(outcome_of(begun, ended, receipt.message_id, receipt.conversation_id))
        for watcher in self.watchers:
            watcher.ended(turn, record, receipt)


def _begun(new: NewTurn) -> TurnBegun:
    return TurnBegun(
        turn_id=new.turn_id or new_turn_id(),
        conversation_id=new.conversation_id,
        caller=new.caller,
        provider=new.choice.target.name,
        model=new.choice.model,
        question=new.prepared.question,
        question_parts=new.prepared.question_parts,
        tool_results=new.prepared.tool_results,
        started_ms=time.time_ns() // 1_000_000,
        request_hash=new.request_hash,
        request_id=new.request_id,
        idempotency_key=new.idempotency_key,
        streamed=new.streamed,
        simulated=new.simulated,
    )


def _error(status: TurnStatus, fold: Fold) -> TurnError | None:
    if status == "interrupted":
        return TurnError("interrupted", "The server restarted before the reply was whole; please try again.", True, 1)
    if not isinstance(fold.terminal, Failed):
        return None
    error = fold.terminal.error
    upstream_status, upstream = (error.upstream_status, error.upstream_text) if isinstance(error, UpstreamError) else (None, "")
    return TurnError(error.code, error.detail, error.retryable, error.retry_after, upstream_status, upstream)
