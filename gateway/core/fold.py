"""Events in, one reply out: the only place where a reply is put together."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, assert_never

from gateway.core import events as ev
from gateway.core.ids import new_call_id
from gateway.core.jsontext import dumps, fits, is_object, loads
from gateway.core.messages import ToolCall
from gateway.core.tape import Run, RunKind, Tape
from gateway.core.turn import Reply, Thought

_UNKNOWN: Final = ev.UsageReported()


class Fold:
    """Folds the events of one turn onto a tape. `clock` gives Unix seconds; `size` counts the UTF-8 bytes of what has come."""

    __slots__ = ("_call_ids", "_clock", "_seen_sources", "size", "state", "tape", "terminal", "usage")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.tape = Tape()
        self.usage = _UNKNOWN
        self.terminal: ev.Finished | ev.Failed | None = None
        self.state: dict[str, Any] | None = None
        self.size = 0
        self._clock = clock
        # Dicts, as an empty set takes three times as much.
        self._call_ids: dict[str, None] = {}
        self._seen_sources: dict[tuple[str | None, ...], None] = {}

    @property
    def has_output(self) -> bool:
        """Whether anything a client would miss has come."""
        return any(not isinstance(segment, ev.Rerouted) for segment in self.tape.segments)

    def add(self, event: ev.Event) -> None:
        """Take the next event; events behind a terminal one are ignored."""
        if self.terminal is not None:
            return
        if isinstance(event, ev.TextDelta):
            # Nearly every event is one: it does not wait for the others to be ruled out.
            self._write("text", event.text)
            return
        match event:
            case ev.ReasoningDelta(text):
                self._write("thought", text)
            case ev.ToolCalled():
                self._call(event)
            case ev.SourceFound():
                self._source(event)
            case ev.UsageReported():
                self.usage = event if self.usage is _UNKNOWN else _merge(self.usage, event)
            case ev.StateKept(data):
                self.state = data if fits(data) else None
            case ev.Rerouted():
                self.tape.mark(event)
                self.usage, self.state = _UNKNOWN, None
            case ev.Started():
                pass
            case ev.Finished() | ev.Failed():
                self.terminal = event
            case _:
                assert_never(event)

    def extend(self, events: Iterable[ev.Event]) -> None:
        """Take events that came together; pieces of text next to each other are written as one (a third of the cost a token)."""
        pieces: list[str] = []
        for event in events:
            if type(event) is ev.TextDelta:
                pieces.append(event.text)
                continue
            if pieces:
                self._write_pieces(pieces)
                pieces.clear()
            self.add(event)
        if pieces:
            self._write_pieces(pieces)

    def reply(self) -> Reply:
        """Return what has come so far as a reply."""
        texts: list[str] = []
        calls: list[ToolCall] = []
        sources: list[ev.SourceFound] = []
        thoughts: list[tuple[Run, list[str]]] = []
        for segment in self.tape.segments:
            if isinstance(segment, Run):
                if segment.kind == "text":
                    texts.append(segment.text())
                else:
                    thoughts.append((segment, []))
            elif isinstance(segment, ToolCall):
                calls.append(segment)
                if thoughts:
                    thoughts[-1][1].append(segment.name)
            elif isinstance(segment, ev.SourceFound):
                sources.append(segment)
        return Reply(
            content="".join(texts),
            tool_calls=tuple(calls),
            thoughts=tuple(
                Thought(number, run.text(), tuple(names), run.started_ms) for number, (run, names) in enumerate(thoughts, 1)
            ),
            sources=tuple(sources),
            usage=self.usage,
            finish_reason=self._finish_reason(bool(calls)),
            layout=self.tape.layout(),
            state=self.state,
        )

    def _write_pieces(self, pieces: list[str]) -> None:
        if self.terminal is None:
            self._write("text", pieces[0] if len(pieces) == 1 else "".join(pieces))

    def _write(self, kind: RunKind, text: str) -> None:
        if not self.tape.extend(kind, text):
            self.tape.write(kind, text, int(self._clock() * 1000))
        self.size += len(text) if text.isascii() else len(text.encode())

    def _call(self, event: ev.ToolCalled) -> None:
        call_id = event.id
        if not call_id or call_id in self._call_ids:
            call_id = new_call_id()
        self._call_ids[call_id] = None
        arguments, raw = parse_arguments(event.arguments)
        self.tape.mark(ToolCall(call_id, event.name, arguments, raw))
        self.size += _bytes(event.arguments) if isinstance(event.arguments, str) else len(dumps(arguments))

    def _source(self, source: ev.SourceFound) -> None:
        key = (source.type, source.title, source.url)
        if key not in self._seen_sources:
            self._seen_sources[key] = None
            self.tape.mark(replace(source, id=str(len(self._seen_sources))))
            self.size += sum(_bytes(text) for text in (source.title, source.url, source.snippet, source.description) if text)

    def _finish_reason(self, called: bool) -> ev.FinishReason | None:
        if not isinstance(self.terminal, ev.Finished):
            return None
        # Providers end a reply that calls tools with a plain "stop" often enough: forced calls, Gemini always.
        return "tool_calls" if called and self.terminal.reason == "stop" else self.terminal.reason


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def parse_arguments(arguments: str | dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a call's arguments as an object, and the raw text where the model wrote no JSON object."""
    if isinstance(arguments, dict):
        return (arguments, None) if fits(arguments) else ({}, None)
    if not arguments.strip():
        return {}, None
    try:
        value = loads(arguments)
    except ValueError:
        return {}, arguments
    return (value, None) if is_object(value) and fits(value) else ({}, arguments)


def _merge(old: ev.UsageReported, new: ev.UsageReported) -> ev.UsageReported:
    return ev.UsageReported(
        *(
            before if after is None else after
            for before, after in (
                (old.input_tokens, new.input_tokens),
                (old.output_tokens, new.output_tokens),
                (old.cached_tokens, new.cached_tokens),
                (old.reasoning_tokens, new.reasoning_tokens),
                (old.cache_write_tokens, new.cache_write_tokens),
            )
        )
    )
