"""Answers that were given before: a first question that is asked again is answered from the log, and asked once where many
ask it at the same time.

What a question is answered with must depend on nothing but itself: it has nothing before it, no tools, no images and no
format of its own, and provider, model, system prompt, temperature and bounds are the same. Then it is nobody's in particular.
"""

import asyncio
import hashlib
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol, assert_never

from gateway.core import events as ev
from gateway.core.jsontext import dumps
from gateway.core.messages import Prompt, TextPart, ToolCall, UserMessage
from gateway.core.tape import Run, Stretch, Tape
from gateway.engine.attempts import Source, Take
from gateway.engine.routing import Choice
from gateway.engine.trail import Trail
from gateway.store.base import StoreUnavailable

Found = Literal["hit", "shared", "miss"]
Wish = Literal["usual", "no-cache", "no-store"]
"""What a caller wants of answers given before: any, none, or none and its own for nobody else."""

FREE: Final = ev.UsageReported(0, 0, 0, 0, 0)
_LOOK_UP_S: Final = 1.0
_FAILURES: Final = 2
_FORM: Final = 2

_Place = tuple[str, bool, bool]


class AnswerStore(Protocol):
    """Remembers what questions were answered with."""

    async def answer(self, key: str, since_ms: int) -> Tape | None:
        """The newest reply to a question since then (Unix milliseconds). Raises `StoreUnavailable`."""
        ...


def key_of(choice: Choice, prompt: Prompt, *, simulated: bool = False) -> str | None:
    """The hash of a question and of all that its answer depends on; None for one whose answer is for this turn alone.

    What the simulator says answers for no provider; its address is another one in each process.
    """
    if len(prompt.messages) != 1 or prompt.tools or prompt.format or prompt.stop:
        return None
    asked = prompt.messages[0]
    if not isinstance(asked, UserMessage) or not all(isinstance(part, TextPart) for part in asked.parts):
        return None
    whom = (choice.target.name, "simulator" if simulated else choice.target.base_url, choice.model)
    said = (_FORM, whom, prompt.system, prompt.temperature, prompt.max_tokens, normal(asked.text))
    return hashlib.sha256(dumps(said)).hexdigest()


def normal(question: str) -> str:
    """One spelling of what is the same text: Unicode's composed form, no white space around, and within a line one space for
    any. Several lines stay as they are: they may be a program, or verse. Vowel marks stay too: with others it is another word."""
    text = unicodedata.normalize("NFC", question).strip()
    return text if len(text.splitlines()) > 1 else " ".join(text.split())


class Answers:
    """Finds answers no older than `ttl_s`; what is not found, `ask` is asked for. `counted` hears where each came from."""

    def __init__(
        self, ask: Source, store: AnswerStore, ttl_s: int, counted: Callable[[Found], None], *, simulated: bool = False
    ) -> None:
        self.ask = ask
        self.counted = counted
        self._store = store
        self._ttl_s = ttl_s
        self._simulated = simulated
        self._flights: dict[_Place, Flight] = {}

    def question(self, choice: Choice, prompt: Prompt, wish: Wish) -> "Question | None":
        """Where the reply to a question is to come from; None: from the provider, and for this turn alone."""
        key = None if wish == "no-store" else key_of(choice, prompt, simulated=self._simulated)
        return None if key is None else Question(self, key, anew=wish == "no-cache")

    async def before(self, key: str) -> Tape | None:
        """What a question was answered with before; None also while the log is away, or slow: the provider is there."""
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                return await self._store.answer(key, int((time.time() - self._ttl_s) * 1000))
        except (StoreUnavailable, TimeoutError):
            return None

    def under_way(self, key: str, choice: Choice, *, stream: bool) -> "Flight | None":
        """The reply that is being written to the same question; a stream does not wait for one that comes whole."""
        streamed = self._flights.get((key, choice.pinned, True))
        return streamed if streamed is not None or stream else self._flights.get((key, choice.pinned, False))

    def begin(self, place: _Place, trail: Trail, before: "Flight | None") -> "Flight":
        """A turn asks; others may follow it."""
        flight = self._flights[place] = Flight(place, trail, before)
        return flight

    def over(self, flight: "Flight") -> None:
        """Nobody may follow it any more."""
        if self._flights.get(flight.place) is flight:
            del self._flights[flight.place]


class Flight:
    """A reply that is being written on one turn's tape (`trail`), and read by other turns with the same question.

    `before` is the one that broke off, whose text this one goes on from, at `start`. `landed`: the reply is whole, None while
    it is being written.
    """

    __slots__ = ("_waiting", "before", "failures", "landed", "place", "start", "trail")

    def __init__(self, place: _Place, trail: Trail, before: "Flight | None") -> None:
        self.place = place
        self.trail = trail
        self.before = before
        self.start = trail.fold.tape.end
        self.failures: int = 0
        if before is not None:
            self.failures, before.before = before.failures, None
        self.landed: bool | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        """Its tape has grown, or it is over."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def end(self) -> None:
        """Its turn writes no more."""
        terminal = self.trail.fold.terminal
        self.landed = isinstance(terminal, ev.Finished)
        self.failures += isinstance(terminal, ev.Failed)
        self.wake()

    async def follow(self, position: int, take: Take) -> bool:
        """Give `take` what stands behind `position`; False when the reply broke off before the turn had enough of it."""
        while True:
            tape = self.trail.fold.tape
            if position < tape.end:
                events = list(events_of(tape, position))
                position = tape.end
                if take(events):
                    return True
            elif self.landed is None:
                future = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                await future
            else:
                break
        terminal = self.trail.fold.terminal
        if not isinstance(terminal, ev.Finished):
            return False
        take([FREE, terminal])
        return True


class Question:
    """The `Source` of one turn. `close` it when the turn has ended."""

    def __init__(self, answers: Answers, key: str, *, anew: bool) -> None:
        self._answers = answers
        self._key = key
        self._anew = anew
        self._flight: Flight | None = None

    async def run(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        """See `Source`."""
        answers = self._answers
        last: Flight | None = None
        while not self._anew and (flight := self._next(choice, last, trail, stream=stream)) is not None:
            trail.cached = True
            trail.provider, trail.model = flight.trail.provider, flight.trail.model
            if await flight.follow(flight.start if trail.fold.has_output else 0, take):
                trail.provider, trail.model = flight.trail.provider, flight.trail.model
                answers.counted("shared")
                return
            last = flight
        trail.cached = False
        trail.provider, trail.model = choice.target.name, choice.model
        # What goes on with text comes as more of it, for all who have the first part.
        stream = stream or trail.fold.has_output
        if self._anew or (last is not None and last.failures >= _FAILURES):
            await self._asked(choice, prompt, trail, take, stream=stream)
            return
        await self._lead(choice, prompt, trail, take, last, stream=stream)

    def close(self) -> None:
        """The turn has ended: its reply, if it was one, is in the log."""
        if self._flight is not None:
            self._answers.over(self._flight)

    def _next(self, choice: Choice, last: Flight | None, trail: Trail, *, stream: bool) -> Flight | None:
        """A reply to follow: any for a turn that has nothing yet, else the one that goes on with the last."""
        flight = self._answers.under_way(self._key, choice, stream=stream)
        if flight is None or (trail.fold.has_output and flight.before is not last):
            return None
        return flight

    async def _lead(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, last: Flight | None, *, stream: bool) -> None:
        """Ask, for all who ask the same meanwhile."""
        answers = self._answers
        flight = self._flight = answers.begin((self._key, choice.pinned, stream), trail, last)

        def relay(batch: list[ev.Event]) -> bool:
            enough = take(batch)
            flight.wake()
            return enough

        try:
            known = None if trail.fold.has_output else await answers.before(self._key)
            if known is None:
                await self._asked(choice, prompt, trail, relay, stream=stream)
            else:
                trail.cached = True
                answers.counted("hit")
                relay([*_texts(known), FREE, ev.Finished("stop")])
        finally:
            flight.end()
            if not flight.landed:
                # Before anybody wakes: the first who does begins another.
                answers.over(flight)

    async def _asked(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        self._answers.counted("miss")
        if trail.fold.has_output:
            # What has come stays, and another call goes on from there.
            trail.parts.append((trail.provider, trail.model, FREE))
            if take([ev.Rerouted("retrying", trail.provider, trail.model)]):
                return
        await self._answers.ask.run(choice, prompt, trail, take, stream=stream)
        if _answers_again(choice, trail):
            trail.question_hash = self._key


def _answers_again(choice: Choice, trail: Trail) -> bool:
    """Whether a reply is whole, in one piece, and of the provider that was asked."""
    if (
        trail.fold.terminal != ev.Finished("stop")
        or trail.parts
        or (trail.provider, trail.model) != (choice.target.name, choice.model)
    ):
        return False
    segments = trail.fold.tape.segments
    said = any(isinstance(segment, Run) and segment.kind == "text" for segment in segments)
    return said and not any(isinstance(segment, ToolCall) for segment in segments)


def _texts(tape: Tape) -> Iterator[ev.Event]:
    """What was said, without what the gateway did meanwhile."""
    return (event for event in events_of(tape, 0) if not isinstance(event, ev.Rerouted))


def events_of(tape: Tape, position: int) -> Iterator[ev.Event]:
    """The events that put on a tape what stands behind `position`."""
    for piece, _ in tape.since(position):
        match piece:
            case Stretch("text", text):
                yield ev.TextDelta(text)
            case Stretch(_, text):
                yield ev.ReasoningDelta(text)
            case ToolCall():
                yield ev.ToolCalled(piece.id, piece.name, piece.arguments_text or piece.arguments)
            case ev.SourceFound() | ev.Rerouted():
                yield piece
            case _:
                assert_never(piece)
