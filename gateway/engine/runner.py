"""The engine: owns every running turn's task, its place in the log and its end."""

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.events import Event, Failed, Finished
from gateway.core.fold import Fold
from gateway.core.messages import KeptState, Prompt
from gateway.core.turn import TurnBegun, TurnEnded, TurnError, TurnRecord, TurnStatus
from gateway.engine.abandon import Abandonment
from gateway.engine.alarms import ring_in
from gateway.engine.attempts import Attempts, Source
from gateway.engine.kept import KeptTurns
from gateway.engine.live import LiveTurn
from gateway.engine.recent import RecentCalls
from gateway.engine.records import INTERRUPTED, NOT_KEPT, NOT_LOGGED, error_of, now_ms, shutting_down
from gateway.engine.replay import not_logged, outcome_of
from gateway.engine.routing import Choice
from gateway.engine.trail import Price, Trail
from gateway.engine.watcher import Begun, Ended, tell
from gateway.store.base import JournalFull, Receipt, TurnLog

log = logging.getLogger(__name__)

PROGRESS_S: Final = 1.0
_LEAST_S: Final = 0.02
_SAVES_PER_S: Final = 400


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a turn: seconds, bytes of reply text, turns at once."""

    turn_timeout_s: float
    abandon_s: float
    max_reply_bytes: int
    max_active_turns: int


@dataclass(slots=True, eq=False)
class _Run:
    """A running turn.

    `ending` is set once somebody asked for its end, `late` once its time is up, `generating` while its task may be cancelled;
    `unsaved` is the timer that tells the log of what has come since it was last told, at `saved_at` (loop time, seconds).
    """

    turn: LiveTurn
    choice: Choice
    prompt: Prompt
    source: Source
    trail: Trail
    task: asyncio.Task[None] | None = None
    ending: TurnStatus | None = None
    late: bool = False
    abandoned: bool = False
    generating: bool = False
    forgotten: bool = False
    unsaved: asyncio.TimerHandle | None = None
    saved_at: float = 0.0


class Engine:
    """Starts turns, finds them again, stops them.

    `on_begun` and `on_ended` hear of every turn; `abandonment` gives up those that nobody reads.
    """

    def __init__(self, attempts: Attempts, turn_log: TurnLog, recent: RecentCalls, limits: Limits, price: Price) -> None:
        self._attempts = attempts
        self._log = turn_log
        self._recent = recent
        self._limits = limits
        self._price = price
        self._runs: dict[str, _Run] = {}
        self._by_conversation: dict[str, dict[str, _Run]] = {}
        self._kept = KeptTurns()
        self.on_begun: list[Begun] = []
        self.on_ended: list[Ended] = []
        self.abandonment = Abandonment(limits.abandon_s, lambda turn: self.stop(turn, abandoned=True))
        self.draining = False

    @property
    def active(self) -> int:
        """How many turns are running."""
        return len(self._runs)

    @property
    def readers(self) -> int:
        """How many readers are attached to running turns."""
        return sum(run.turn.readers for run in self._runs.values())

    def start(
        self, begun: TurnBegun, choice: Choice, prompt: Prompt, *, source: Source | None = None, attended: bool = False
    ) -> LiveTurn:
        """Begin a turn in a task of its own. `source`: where the reply is to come from, if not from the providers; `attended`:
        whoever starts it reads it before anything else can happen. Raises `GatewayError`: `overloaded`, `shutting_down`."""
        if self.draining:
            raise shutting_down()
        if len(self._runs) >= self._limits.max_active_turns:
            raise GatewayError("overloaded", "The server is busy; try again in a moment.", retry_after=5)
        turn = LiveTurn(begun, Fold(time.time), self.abandonment.left_alone)
        turn_id = begun.turn_id
        trail = Trail(begun.provider, begun.model, turn.fold)
        run = self._runs[turn_id] = _Run(turn, choice, prompt, source or self._attempts, trail)
        self._by_conversation.setdefault(begun.conversation_id, {})[turn_id] = run
        if not attended:
            self.abandonment.begun(turn)
        run.task = turn.loop.create_task(self._run(run), name=turn_id)
        return turn

    def find(self, turn_id: str) -> LiveTurn | None:
        """A turn that runs here, or ended here lately."""
        run = self._runs.get(turn_id)
        return run.turn if run else self._kept.get(turn_id)

    def running_in(self, conversation_id: str) -> list[LiveTurn]:
        """The turns of a conversation that run here."""
        return [run.turn for run in self._by_conversation.get(conversation_id, {}).values()]

    def forget_conversation(self, conversation_id: str, caller: str | None = None) -> None:
        """A conversation was deleted (by `caller`: their turns in it): stop its turns and remember nothing of it."""
        runs = self._by_conversation.get(conversation_id, {}).values()
        self._forget([run for run in runs if caller in (None, run.turn.begun.caller)])
        self._recent.forget(conversation_id)
        self._kept.forget(lambda begun: begun.conversation_id == conversation_id and caller in (None, begun.caller))

    def forget_caller(self, caller: str) -> None:
        """A caller was deleted: stop their turns and remember nothing of them."""
        self._forget([run for run in self._runs.values() if run.turn.begun.caller == caller])
        self._kept.forget(lambda begun: begun.caller == caller)

    def _forget(self, runs: list[_Run]) -> None:
        for run in runs:
            run.forgotten = True
            self._recent.forget(run.turn.begun.conversation_id)
            self.stop(run.turn)

    def stop(self, turn: LiveTurn, *, status: TurnStatus = "stopped", abandoned: bool = False) -> bool:
        """End a running turn, keeping what has come; False when it has ended (or is ending) already."""
        run = self._runs.get(turn.begun.turn_id)
        if run is None or run.task is None or run.ending is not None or turn.fold.terminal is not None:
            return False
        run.ending, run.abandoned = status, abandoned
        if run.generating and not run.late:
            run.task.cancel()
        return True

    async def drain(self, patience_s: float) -> None:
        """Let running turns finish for a while, then end the rest as interrupted; returns when all are logged."""
        self.draining = True
        await self._wait_for_runs(patience_s)
        self._log.hurry()
        for run in list(self._runs.values()):
            self.stop(run.turn, status="interrupted")
        await self._wait_for_runs(None)

    async def _wait_for_runs(self, timeout_s: float | None) -> None:
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def _run(self, run: _Run) -> None:
        try:
            await self._live(run)
        except Exception:
            log.exception("a turn could not be logged", extra={"turn_id": run.turn.begun.turn_id})
            self._break_off(run, NOT_LOGGED)
        finally:
            self._over(run)
            self._break_off(run, INTERRUPTED)

    async def _live(self, run: _Run) -> None:
        try:
            await self._log.begin(run.turn.begun)
        except JournalFull:
            self._break_off(run, NOT_KEPT)
            return
        tell(self.on_begun, run.turn)
        status = run.ending or await self._generate(run)
        ended = self._ended(run, status)
        record = TurnRecord(run.turn.begun, ended)
        self._finish(run, record, await self._log.put(record))

    def _break_off(self, run: _Run, error: TurnError) -> None:
        """End a turn that the log does not have, unless it has ended."""
        if run.turn.outcome is None:
            run.turn.end(not_logged(run.turn.begun, error))

    async def _generate(self, run: _Run) -> TurnStatus:
        turn, fold = run.turn, run.turn.fold
        run.generating = True
        deadline = ring_in(turn.loop, self._limits.turn_timeout_s, self._too_late, run)
        try:
            await self._consume(run)
        except GatewayError as error:
            fold.add(Failed(error))
        except asyncio.CancelledError:
            if run.task is None or not (run.late or run.ending):
                raise
            run.task.uncancel()
            if run.ending:
                return run.ending
            fold.add(Failed(GatewayError("provider_timeout", "The reply took longer than the server allows.")))
        except Exception:
            log.exception("a turn broke", extra={"turn_id": turn.begun.turn_id})
            fold.add(Failed(GatewayError("internal_error", "The server made a mistake; please try again.")))
        finally:
            run.generating = False
            deadline.cancel()
            if run.unsaved is not None:
                run.unsaved.cancel()
        return "completed" if isinstance(fold.terminal, Finished) else "failed"

    def _too_late(self, run: _Run) -> None:
        if run.task is not None and run.ending is None:
            run.late = True
            run.task.cancel()

    async def _consume(self, run: _Run) -> None:
        await run.source.run(run.choice, run.prompt, run.trail, partial(self._take, run), stream=run.turn.begun.streamed)
        if run.turn.fold.terminal is None:
            raise GatewayError("provider_error", "The reply broke off.")

    def _take(self, run: _Run, batch: list[Event]) -> bool:
        """Add what has come to the tape; True: the turn needs no more."""
        fold = run.turn.fold
        if run.ending is not None:
            return True
        before = fold.tape.end
        fold.extend(batch)
        if fold.size > self._limits.max_reply_bytes and fold.terminal is None:
            fold.add(Failed(GatewayError("provider_error", "The reply was longer than the server allows.", retryable=False)))
        if fold.tape.end != before:
            run.turn.publish()
            if run.unsaved is None and fold.terminal is None:
                self._save_soon(run)
        return fold.terminal is not None

    def _save_soon(self, run: _Run) -> None:
        """At once when it was long ago; the fewer turns run, the less a kill of the process takes from them."""
        loop = run.turn.loop
        pace_s = min(PROGRESS_S, max(_LEAST_S, len(self._runs) / _SAVES_PER_S))
        run.unsaved = loop.call_at(max(loop.time(), run.saved_at + pace_s), self._save, run)

    def _save(self, run: _Run) -> None:
        run.unsaved = None
        run.saved_at = run.turn.loop.time()
        self._log.progress(run.turn.begun, run.turn.fold.reply())

    def _ended(self, run: _Run, status: TurnStatus) -> TurnEnded:
        turn, trail = run.turn, run.trail
        turn.fold.tape.close()
        reply = turn.fold.reply()
        return TurnEnded(
            status=status,
            provider=trail.provider,
            model=trail.model,
            reply=reply,
            ended_ms=now_ms(),
            first_output_ms=turn.first_output_ms,
            cost_usd=self._cost(trail, None if status == "completed" else run.prompt),
            error=error_of(status, turn.fold),
            attempts=tuple(trail.attempts),
            abandoned=run.abandoned,
            cached=trail.cached,
            question_hash=trail.question_hash,
        )

    def _cost(self, trail: Trail, cut: Prompt | None) -> float | None:
        try:
            return trail.cost(self._price, cut)
        except Exception:
            # A reply is worth more than its price.
            log.exception("a turn could not be priced", extra={"provider": trail.provider, "model": trail.model})
            return None

    def _finish(self, run: _Run, record: TurnRecord, receipt: Receipt) -> None:
        turn, ended, reply = run.turn, record.ended, record.ended.reply
        if not run.forgotten:
            self._kept.add(turn)
            if ended.status in ("completed", "stopped"):
                state = KeptState(ended.provider, ended.model, reply.state) if reply.state is not None else None
                self._recent.remember(receipt.conversation_id, turn.begun.caller, reply.tool_calls, state)
        turn.end(outcome_of(turn.begun, ended, receipt.message_id, receipt.conversation_id))
        tell(self.on_ended, turn, record, receipt)

    def _over(self, run: _Run) -> None:
        begun = run.turn.begun
        del self._runs[begun.turn_id]
        running = self._by_conversation[begun.conversation_id]
        del running[begun.turn_id]
        if not running:
            del self._by_conversation[begun.conversation_id]
        self.abandonment.over(run.turn)
