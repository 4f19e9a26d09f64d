"""From a parsed request and the log to what the model is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.core.errors import GatewayError
from gateway.core.history import pair, repair, system_text
from gateway.core.jsontext import dumps_text
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    KeptState,
    Message,
    Part,
    Prompt,
    TextPart,
    ToolResult,
    ToolResults,
)
from gateway.core.request import ChatRequest, Entry
from gateway.engine.recent import RecentCalls
from gateway.store.base import Store, StoreUnavailable, Viewer


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt, and what of it is new: a question (with `question_parts` when it holds images), or tool results."""

    prompt: Prompt
    question: str | None
    question_parts: str | None
    tool_results: tuple[ToolResult, ...]


class PromptBuilder:
    """Reads the log only where the request leaves something to it."""

    def __init__(self, store: Store, recent: RecentCalls, history_limit: int, max_output_tokens: int) -> None:
        self._store = store
        self._recent = recent
        self._history_limit = history_limit
        self._max_output_tokens = max_output_tokens

    async def build(self, request: ChatRequest, conversation_id: str, viewer: Viewer) -> Prepared:
        """Raises `GatewayError`: `invalid_request`, `log_unavailable`."""
        entries, from_log = _entries(request)
        earlier = await self._history(conversation_id, viewer) if from_log and request.conversation_id else ()
        messages = repair(entries, earlier)
        if request.conversation_id:
            messages = await self._with_states(conversation_id, messages)
        prompt = Prompt(
            messages=messages,
            system=system_text(request.system_prompt, entries),
            tools=request.tools,
            tool_choice=request.tool_choice,
            temperature=request.temperature,
            max_tokens=min(request.max_tokens or self._max_output_tokens, self._max_output_tokens),
        )
        if entries[-1].role == "tool":
            results = await self._follow_up(conversation_id, viewer, entries, messages)
            if results:
                return Prepared(prompt, None, None, results)
        question, parts = _question(entries)
        return Prepared(prompt, question, parts, ())

    async def _history(self, conversation_id: str, viewer: Viewer) -> tuple[Message, ...]:
        try:
            return await self._store.history(conversation_id, viewer, self._history_limit)
        except StoreUnavailable:
            raise GatewayError(
                "log_unavailable", "The conversation cannot be read now; send its messages, or try again.", retry_after=2
            ) from None

    async def _with_states(self, conversation_id: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        wanted = [
            call.id
            for message in messages
            if isinstance(message, AssistantMessage) and message.state is None
            for call in message.tool_calls
        ]
        if not wanted:
            return messages
        states, unknown = self._recent.states(conversation_id, wanted)
        if unknown:
            try:
                states |= await self._store.states(conversation_id, unknown)
            except StoreUnavailable:
                # Without it the providers' stand-in for a lost signature is sent.
                return tuple(_with_state(message, states) for message in messages)
        return tuple(_with_state(message, states) for message in messages)

    async def _follow_up(
        self, conversation_id: str, viewer: Viewer, entries: Sequence[Entry], messages: Sequence[Message]
    ) -> tuple[ToolResult, ...]:
        """The new results under the ids of the calls that asked for them; empty when nobody here asked."""
        given = _trailing_results(entries)
        names = {result.call_id: result.name for result in _last_results(messages)}
        try:
            issued = self._recent.issued(conversation_id) or await self._store.issued(conversation_id, viewer.caller)
        except StoreUnavailable:
            issued = tuple(names)
        return tuple(
            ToolResult(call_id, names.get(call_id, ""), given[answer].text)
            for call_id, answer in zip(issued, pair(issued, [entry.call_id for entry in given]), strict=True)
            if answer is not None
        )


def _entries(request: ChatRequest) -> tuple[tuple[Entry, ...], bool]:
    """The client's entries with the new one last, and whether the log's history belongs before them."""
    message = Entry("user", (TextPart(request.message),)) if request.message is not None else None
    if request.entries is None:
        assert message is not None, "validated at the edge"
        return (message,), True
    spoken = [entry for entry in request.entries if entry.role != "system"]
    if spoken and all(entry.role == "tool" for entry in spoken):
        return request.entries, True
    if spoken and spoken[-1].role in ("user", "tool"):
        return (*(entry for entry in request.entries if entry.role == "system"), *spoken), False
    if message is None:
        raise GatewayError(
            "invalid_request",
            "The last entry of messages must be from the user or a tool.",
            fields=(("messages", "ends with an assistant entry and there is no message"),),
        )
    return (*request.entries, message), False


def _trailing_results(entries: Sequence[Entry]) -> list[Entry]:
    found: list[Entry] = []
    for entry in reversed(entries):
        if entry.role != "tool":
            break
        found.append(entry)
    return found[::-1]


def _last_results(messages: Sequence[Message]) -> tuple[ToolResult, ...]:
    last = messages[-1] if messages else None
    return last.results if isinstance(last, ToolResults) else ()


def _question(entries: Sequence[Entry]) -> tuple[str, str | None]:
    """The newest thing the user said, as text and, with images in it, as parts."""
    asked = next((entry for entry in reversed(entries) if entry.role == "user"), None)
    if asked is None:
        return "", None
    parts = dumps_text([_part_body(part) for part in asked.parts])
    return asked.text, parts if any(isinstance(part, ImagePart) for part in asked.parts) else None


def _part_body(part: Part) -> dict[str, object]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


def _with_state(message: Message, states: Mapping[str, KeptState]) -> Message:
    if not isinstance(message, AssistantMessage) or message.state is not None:
        return message
    state = next((states[call.id] for call in message.tool_calls if call.id in states), None)
    return message if state is None else replace(message, state=state)
