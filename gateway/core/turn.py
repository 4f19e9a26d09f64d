"""A turn as it is accepted, as it ends and as it is stored."""

from typing import Any, Literal

from gateway.core.errors import ErrorCode
from gateway.core.events import FinishReason, SourceFound, UsageReported
from gateway.core.messages import ToolCall, ToolResult
from gateway.core.value import value

TurnStatus = Literal["completed", "stopped", "interrupted", "failed"]


@value
class Thought:
    """A stretch of the model's reasoning; `tool_calls` names the calls it led to, `timestamp` is Unix milliseconds."""

    iteration: int
    content: str
    tool_calls: tuple[str, ...]
    timestamp: int


@value
class Reply:
    """Everything a provider's events amount to, whole or cut short."""

    content: str
    tool_calls: tuple[ToolCall, ...]
    thoughts: tuple[Thought, ...]
    sources: tuple[SourceFound, ...]
    usage: UsageReported
    finish_reason: FinishReason | None
    layout: str
    state: dict[str, Any] | None


@value
class TurnBegun:
    """A turn as it was accepted.

    `caller` is the owner (None: nobody in particular). `question` is the user's text, None when tool results go on with an
    earlier question; `question_parts` its parts as JSON when there are images in it. `request_hash` tells whether a repeated
    request is the same one (hex SHA-256 of the parsed JSON). `charged_on` is the UTC day (ISO 8601) from whose limit it was
    taken, None where there is no limit; `uncounted`: the database was away then, and has yet to count it. Times are Unix
    milliseconds.
    """

    turn_id: str
    conversation_id: str
    caller: str | None
    provider: str
    model: str
    question: str | None
    question_parts: str | None
    tool_results: tuple[ToolResult, ...]
    started_ms: int
    request_hash: str
    request_id: str
    idempotency_key: str | None = None
    streamed: bool = False
    simulated: bool = False
    charged_on: str | None = None
    uncounted: bool = False


@value
class TurnError:
    """Why a turn failed: `detail` is what the client saw, `upstream` what the provider said (for the operator alone)."""

    code: ErrorCode
    detail: str
    retryable: bool
    retry_after: float | None = None
    upstream_status: int | None = None
    upstream: str = ""


@value
class Attempt:
    """One upstream call of a turn that did not answer it."""

    provider: str
    model: str
    code: ErrorCode
    upstream_status: int | None = None


@value
class TurnEnded:
    """How a turn ended. `provider` and `model` are those that answered (or were asked last).

    `first_output_ms` and `ended_ms` are Unix milliseconds; `cost_usd` None means no known price. `abandoned`: ended because
    nobody was attached any more. `cached`: the reply is that of another turn, which paid for it; `question_hash`: the hash of the
    question that this one answers when it is asked again.
    """

    status: TurnStatus
    provider: str
    model: str
    reply: Reply
    ended_ms: int
    first_output_ms: int | None = None
    cost_usd: float | None = None
    error: TurnError | None = None
    attempts: tuple[Attempt, ...] = ()
    abandoned: bool = False
    cached: bool = False
    question_hash: str | None = None


@value
class TurnRecord:
    """A whole turn, ready for the log."""

    begun: TurnBegun
    ended: TurnEnded

    @property
    def binds_key(self) -> bool:
        """Whether its Idempotency-Key stays bound: retryable failures, interrupted and abandoned turns free it."""
        ended = self.ended
        if ended.status == "interrupted" or ended.abandoned:
            return False
        return not (ended.status == "failed" and ended.error is not None and ended.error.retryable)

    @property
    def cost_nothing(self) -> bool:
        """Whether it failed (or was interrupted) before the provider gave anything of a reply. Anthropic's streams count one
        token of it before there is any."""
        ended = self.ended
        reply = ended.reply
        gave = reply.content or reply.tool_calls or reply.thoughts or (reply.usage.output_tokens or 0) > 1
        return ended.status in ("failed", "interrupted") and not gave

    @property
    def owed(self) -> int:
        """What its caller's count of the day lacks while the log does not have the turn: 1 for a question that nobody could
        count when it began, -1 for one that was counted and cost nothing."""
        return 0 if self.begun.charged_on is None else self.begun.uncounted - self.cost_nothing
