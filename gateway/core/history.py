"""Repairs a client's history so that every provider accepts it.

Afterwards each call has an id that is unique in the history and exactly one result, in the order of the calls.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.core.errors import GatewayError
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    ToolCall,
    ToolResult,
    ToolResults,
    UserMessage,
)
from gateway.core.request import Entry, RawCall

NO_RESULT = "No result was given for this call."


def system_text(system_prompt: str | None, entries: Sequence[Entry]) -> str | None:
    """Join the system prompts of both places, `system_prompt` first."""
    if not system_prompt and not entries:
        return None
    texts = [system_prompt or "", *(entry.text for entry in entries if entry.role == "system")]
    return "\n\n".join(text for text in texts if text.strip()) or None


def is_blank(entry: Entry) -> bool:
    """Whether an entry holds no image and no text but white space."""
    return not entry.text.strip() and not any(isinstance(part, ImagePart) for part in entry.parts)


def repair(entries: Sequence[Entry], earlier: Sequence[Message] = ()) -> tuple[Message, ...]:
    """Turn entries into messages behind `earlier` ones (from the log), leaving out blank ones.

    Where `earlier` ends with calls, tool entries at the beginning of `entries` answer them, instead of what stands there as
    their results. Raises `GatewayError` `invalid_request` for a tool entry that no call before it can have asked for.
    """
    repairer = _Repairer(earlier)
    for number, entry in enumerate(entries):
        repairer.take(number, entry)
    return repairer.finish()


class _Repairer:
    def __init__(self, earlier: Sequence[Message]) -> None:
        self._messages: list[Message] = []
        self._ids: set[str] = set()
        self._made_ids = 0
        self._calls: tuple[ToolCall, ...] = ()
        self._asked_ids: tuple[str | None, ...] = ()
        self._known: tuple[str, ...] = ()
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
            if not is_blank(entry):
                self._messages.append(UserMessage(entry.parts))

    def finish(self) -> tuple[Message, ...]:
        self._settle()
        return tuple(self._messages)

    def _add_earlier(self, message: Message) -> None:
        """Results wait with their calls until something follows: it may be better results."""
        if isinstance(message, ToolResults):
            known = {result.call_id: result.content for result in message.results}
            self._known = tuple(known.get(call_id or "", NO_RESULT) for call_id in self._asked_ids)
            return
        self._settle()
        if isinstance(message, AssistantMessage) and message.tool_calls:
            message = replace(message, tool_calls=self._ask(message.tool_calls))
        self._messages.append(message)

    def _assistant(self, entry: Entry) -> None:
        calls = self._ask(entry.calls)
        if calls or entry.text.strip():
            self._messages.append(AssistantMessage(entry.text, calls))

    def _ask(self, asked: Sequence[RawCall | ToolCall]) -> tuple[ToolCall, ...]:
        """Open calls, under ids of their own, until they are settled."""
        self._calls = tuple(self._renamed(call, self._unique(call.id)) for call in asked)
        self._asked_ids = tuple(call.id for call in asked)
        self._known = (NO_RESULT,) * len(asked)
        return self._calls

    @staticmethod
    def _renamed(call: RawCall | ToolCall, call_id: str) -> ToolCall:
        return replace(call, id=call_id) if isinstance(call, ToolCall) else ToolCall(call_id, call.name, call.arguments)

    def _unique(self, wanted: str | None) -> str:
        call_id = wanted
        while not call_id or call_id in self._ids:
            call_id = f"call_{self._made_ids}"
            self._made_ids += 1
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
                    ToolResult(call.id, call.name, known if answer is None else self._results[answer].text)
                    for call, known, answer in zip(self._calls, self._known, answers, strict=True)
                )
            )
        )
        self._calls, self._asked_ids, self._results = (), (), []


def pair(asked: Sequence[str | None], answered: Sequence[str | None]) -> list[int | None]:
    """Return, for each call, the index of its result: by id where ids agree, the rest by order."""
    places: dict[str | None, list[int]] = {}
    for index in reversed(range(len(answered))):
        places.setdefault(answered[index], []).append(index)
    found = [places[call_id].pop() if call_id and places.get(call_id) else None for call_id in asked]
    taken = set(found)
    left = (index for index in range(len(answered)) if index not in taken)
    return [next(left, None) if index is None else index for index in found]
