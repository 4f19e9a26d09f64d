"""Repairs a client's history so that every provider accepts it.

Afterwards each call has an id that is unique in the history and exactly one result, in the order of the calls.
"""

from collections.abc import Iterable, Sequence

from gateway.core.errors import GatewayError
from gateway.core.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolResult,
    ToolResults,
    UserMessage,
)
from gateway.core.request import Entry

NO_RESULT = "No result was given for this call."


def system_text(system_prompt: str | None, entries: Iterable[Entry]) -> str | None:
    """Join the system prompts of both places, `system_prompt` first."""
    texts = [system_prompt or "", *(entry.text for entry in entries if entry.role == "system")]
    return "\n\n".join(text for text in texts if text.strip()) or None


def repair(entries: Sequence[Entry], earlier: Sequence[Message] = ()) -> tuple[Message, ...]:
    """Turn entries into messages behind `earlier` ones (from the log).

    Raises `GatewayError` `invalid_request` for a tool entry that no call before it can have asked for.
    """
    repairer = _Repairer(earlier)
    for number, entry in enumerate(entries):
        repairer.take(number, entry)
    return repairer.finish()


class _Repairer:
    def __init__(self, earlier: Sequence[Message]) -> None:
        self._messages: list[Message] = []
        self._ids: set[str] = set()
        self._calls: tuple[ToolCall, ...] = ()
        self._asked_ids: tuple[str | None, ...] = ()
        self._results: list[Entry] = []
        for message in earlier:
            self._add_earlier(message)

    def take(self, number: int, entry: Entry) -> None:
        if entry.role == "tool":
            if len(self._results) >= len(self._calls):
                raise GatewayError(
                    "invalid_request",
                    "A tool result needs a tool call before it.",
                    fields=((f"messages.{number}", "no tool call is left that this result could answer"),),
                )
            self._results.append(entry)
        elif entry.role == "assistant":
            self._settle()
            self._assistant(entry)
        elif entry.role == "user":
            self._settle()
            if entry.parts:
                self._messages.append(UserMessage(entry.parts))

    def finish(self) -> tuple[Message, ...]:
        self._settle()
        return tuple(self._messages)

    def _add_earlier(self, message: Message) -> None:
        """A log that ends with open calls leaves them open, for the tool entries that follow."""
        if isinstance(message, AssistantMessage):
            self._settle()
            self._ids.update(call.id for call in message.tool_calls)
            self._calls = message.tool_calls
            self._asked_ids = tuple(call.id for call in message.tool_calls)
            self._messages.append(message)
        elif isinstance(message, ToolResults):
            self._calls = ()
            self._messages.append(message)
        else:
            self._settle()
            self._messages.append(message)

    def _assistant(self, entry: Entry) -> None:
        calls = tuple(ToolCall(self._unique(call.id), call.name, call.arguments) for call in entry.calls)
        self._calls = calls
        self._asked_ids = tuple(call.id for call in entry.calls)
        if calls or entry.text:
            self._messages.append(AssistantMessage(entry.text, calls))

    def _unique(self, wanted: str | None) -> str:
        call_id = wanted or f"call_{len(self._ids)}"
        number = len(self._ids)
        while call_id in self._ids:
            call_id = f"call_{number}"
            number += 1
        self._ids.add(call_id)
        return call_id

    def _settle(self) -> None:
        """Pair the results that came with the calls that asked, and answer the calls without one."""
        if not self._calls:
            return
        answers = pair(self._asked_ids, [entry.call_id for entry in self._results])
        self._messages.append(
            ToolResults(
                tuple(
                    ToolResult(call.id, call.name, NO_RESULT if answer is None else self._results[answer].text)
                    for call, answer in zip(self._calls, answers, strict=True)
                )
            )
        )
        self._calls, self._asked_ids, self._results = (), (), []


def pair(asked: Sequence[str | None], answered: Sequence[str | None]) -> list[int | None]:
    """Return, for each call, the index of its result: by id where ids agree, the rest by order."""
    found: list[int | None] = [None] * len(asked)
    left = list(range(len(answered)))
    for index, call_id in enumerate(asked):
        match = next((answer for answer in left if call_id and answered[answer] == call_id), None)
        if match is not None:
            found[index] = match
            left.remove(match)
    for index, answer in enumerate(found):
        if answer is None and left:
            found[index] = left.pop(0)
    return found
