"""A chat request as the client sent it, parsed but not yet repaired."""

from typing import Any, Literal

from gateway.core.messages import Part, ReplyFormat, ToolChoice, ToolSpec
from gateway.core.value import value

Role = Literal["system", "user", "assistant", "tool"]


@value
class RawCall:
    """A tool call in a client's history; its id may be missing or wrong."""

    id: str | None
    name: str
    arguments: dict[str, Any]


@value
class Entry:
    """One entry of `messages`."""

    role: Role
    parts: tuple[Part, ...]
    calls: tuple[RawCall, ...] = ()
    call_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(getattr(part, "text", "") for part in self.parts)


@value
class ChatRequest:
    """The body of POST /chat. `entries` is None when the client leaves the history to the log; `body_hash` is of the parsed
    JSON, so that the same request with other spacing is the same. `pinned`: whether no other provider than the one named may
    answer (None: as naming one implies)."""

    body_hash: str
    conversation_id: str | None
    message: str | None
    entries: tuple[Entry, ...] | None
    tools: tuple[ToolSpec, ...]
    tool_choice: ToolChoice | None
    system_prompt: str | None
    provider: str | None
    model: str | None
    temperature: float | None
    max_tokens: int | None
    pinned: bool | None = None
    format: ReplyFormat | None = None
    stop: tuple[str, ...] = ()
