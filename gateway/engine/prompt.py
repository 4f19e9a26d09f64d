"""From a parsed request and the log to what the model is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.core.errors import GatewayError
from gateway.core.history import is_blank, pair, repair, system_text
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
    UserMessage,
)
from gateway.core.request import ChatRequest, Entry
from gateway.core.value import value
from gateway.engine.recent import RecentCalls
from gateway.store.base import Store, StoreUnavailable, Viewer


@value
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
        known = request.conversation_id is not None
        if not known and request.entries is None and request.message and request.message.strip():
            # The first question of a conversation, the usual one: nothing to look up, to pair or to repair.
            alone = (UserMessage((TextPart(request.message),)),)
            return Prepared(self._prompt(request, alone, ()), request.message, None, ())
        entries, from_log = _entries(request)
        earlier = await self._history(conversation_id, viewer) if from_log and known else ()
        messages = repair(entries, earlier)
        if known:
            messages = await self._with_states(conversation_id, messages)
        prompt = self._prompt(request, messages, entries)
        given = _trailing_results(entries)
        results = await self._answered(conversation_id, viewer.caller, given, messages) if given and known else ()
        question, parts = (None, None) if results else _question(entries)
        return Prepared(prompt, question, parts, results)

    def _prompt(self, request: ChatRequest, messages: tuple[Message, ...], entries: Sequence[Entry]) -> Prompt:
        return Prompt(
            messages=messages,
            system=system_text(request.system_prompt, entries),
            tools=request.tools,
            tool_choice=request.tool_choice,
            temperature=request.temperature,
            max_tokens=min(request.max_tokens or self._max_output_tokens, self._max_output_tokens),
            format=request.format,
            stop=request.stop,
        )

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

    async def _answered(
        self, conversation_id: str, caller: str | None, given: Sequence[Entry], messages: Sequence[Message]
    ) -> tuple[ToolResult, ...]:
        """The new results under the ids of the calls that asked for them; empty when nobody here asked."""
        names = {result.call_id: result.name for result in _last_results(messages)}
        given_ids = [entry.call_id for entry in given]
        issued = await self._issued(conversation_id, caller, given_ids, tuple(names))
        return tuple(
            ToolResult(call_id, names.get(call_id, ""), given[answer].text)
            for call_id, answer in zip(issued, pair(issued, given_ids), strict=True)
            if answer is not None
        )

    async def _issued(
        self, conversation_id: str, caller: str | None, given_ids: Sequence[str | None], claimed: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The calls that results may answer; while the log is away and nothing is known here, the client is believed."""
        here = self._recent.issued(conversation_id, caller)
        # Another process may have issued newer ones: only ids tell that these are meant.
        if here and set(given_ids) <= set(here):
            return here
        try:
            return await self._store.issued(conversation_id, caller) or here
        except StoreUnavailable:
            return here or claimed


def _entries(request: ChatRequest) -> tuple[tuple[Entry, ...], bool]:
    """The client's entries with the new one behind all others, and whether the log's history belongs before them."""
    message = () if request.message is None else (Entry("user", (TextPart(request.message),)),)
    entries = request.entries or ()
    spoken = [entry for entry in entries if entry.role != "system"]
    if spoken and all(entry.role == "tool" for entry in spoken):
        return entries, True
    if not spoken or spoken[-1].role == "assistant":
        entries += message
        spoken += message
    newest = spoken[-1] if spoken else None
    if newest is None or newest.role == "assistant" or (newest.role == "user" and is_blank(newest)):
        raise GatewayError(
            "invalid_request",
            "The last entry of messages must be what the user or a tool says.",
            fields=(("messages", "ends without anything new from the user or a tool"),),
        )
    return entries, request.entries is None


def _trailing_results(entries: Sequence[Entry]) -> list[Entry]:
    found: list[Entry] = []
    for entry in reversed(entries):
        if entry.role == "tool":
            found.append(entry)
        elif entry.role != "system":
            break
    return found[::-1]


def _last_results(messages: Sequence[Message]) -> tuple[ToolResult, ...]:
    last = messages[-1] if messages else None
    return last.results if isinstance(last, ToolResults) else ()


def _question(entries: Sequence[Entry]) -> tuple[str, str | None]:
    """The newest thing the user said, as text and, with images in it, as parts."""
    asked = next((entry for entry in reversed(entries) if entry.role == "user"), None)
    if asked is None:
        return "", None
    if not any(isinstance(part, ImagePart) for part in asked.parts):
        return asked.text, None
    return asked.text, dumps_text([_part_body(part) for part in asked.parts])


def _part_body(part: Part) -> dict[str, object]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


def _with_state(message: Message, states: Mapping[str, KeptState]) -> Message:
    if not isinstance(message, AssistantMessage) or message.state is not None:
        return message
    state = next((states[call.id] for call in message.tool_calls if call.id in states), None)
    return message if state is None else replace(message, state=state)
