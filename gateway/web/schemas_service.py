"""What the server answers beside turns and the log, as models: accounts, health, numbers."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from gateway.core.turn import TurnStatus
from gateway.web.schemas import AnswerModel, Count, ProviderName


class ConfiguredProvider(AnswerModel):
    """A provider as this server knows it."""

    configured: bool
    model: str
    """What is asked when a request names no model."""


class ServiceInfo(AnswerModel):
    """What this server is."""

    service: str
    status: Literal["running"]
    default_provider: ProviderName
    providers: dict[ProviderName, ConfiguredProvider]
    version: str
    simulated: Literal[True] | None = None
    """Stands while no provider key is set and the built-in simulator answers."""
    note: str | None = None


class HealthReport(AnswerModel):
    """How the server fares; a degraded one still serves."""

    status: Literal["healthy", "degraded"]
    database: Literal["up", "down"]
    journal: Literal["up", "down"]
    """While the journal cannot be written, no new turn is accepted."""
    spooled_turns: Count
    """Turns that wait for the database."""
    refused_turns: Count
    """Turns that the database refuses for their data; they are kept."""
    redis: Literal["up", "down"] | None = None
    """Only where `REDIS_URL` is set. While it is down, running turns are found in their own process alone."""
    providers: dict[ProviderName, Literal["up", "down", "unconfigured"]]
    active_turns: Count
    version: str


class Account(AnswerModel):
    """Somebody who signed in."""

    id: int
    email: str | None
    """Null unless the issuer verified it."""
    daily_requests: Count
    """Questions asked today (UTC)."""
    daily_limit: Count
    """Questions allowed a day; 0: no limit."""


class OwnAccount(Account):
    """The caller's own account."""

    provider: str
    created_at: datetime | None


class SignedIn(AnswerModel):
    """Who signed in, and the token to show from now on."""

    token: str
    user: Account


class Tokens(AnswerModel):
    """Sums of token counts."""

    input: Count
    output: Count
    cached: Count
    cache_write: Count
    reasoning: Count


class ProviderTurns(AnswerModel):
    """Turns that a provider answered."""

    total: Count
    completed: Count | None = None
    stopped: Count | None = None
    interrupted: Count | None = None
    failed: Count | None = None
    tokens: Tokens
    cost_usd: Annotated[float, Field(ge=0)]


class ModelTurns(AnswerModel):
    """Turns that a model answered."""

    provider: str
    model: str
    total: Count
    tokens: Tokens
    cost_usd: Annotated[float, Field(ge=0)]


class DayTurns(AnswerModel):
    """Turns that ended on a UTC day, as far as it is in the window."""

    day: date
    total: Count
    tokens: Tokens
    cost_usd: Annotated[float, Field(ge=0)]


class CallerTurns(AnswerModel):
    """What a caller asked; null is nobody in particular."""

    caller: str | None
    turns: Count
    failures: Count
    input_tokens: Count
    output_tokens: Count
    cost_usd: Annotated[float, Field(ge=0)]


class Turns(AnswerModel):
    """Turns that ended in the window."""

    total: Count
    by_status: dict[TurnStatus, Count]
    by_provider: dict[str, ProviderTurns]
    by_model: list[ModelTurns]
    by_day: list[DayTurns]
    by_caller: list[CallerTurns] | None
    """Most turns first, 200 callers at most; null for a window of more than three days."""


class Budget(AnswerModel):
    """What may be spent in a UTC day, and what is spent of it; 0: any amount."""

    spent_usd: Annotated[float, Field(ge=0)]
    daily_budget_usd: Annotated[float, Field(ge=0)]
    user_daily_budget_usd: Annotated[float, Field(ge=0)]


class Quantiles(AnswerModel):
    """Milliseconds; null where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


class KeyState(AnswerModel):
    """How one key of a provider fares in this process."""

    name: str
    """The provider and the place among its keys, such as `openai#2`."""
    state: Literal["up", "limited", "refused", "quota", "open", "half_open"]
    """`limited`: rests until its limit is reset; `refused`, `quota`: set aside; `open`, `half_open`: its calls keep failing."""
    in_flight: Count
    rest_s: Annotated[float, Field(ge=0)]
    """Seconds until it is asked again, where that is known."""


class Statistics(AnswerModel):
    """What happened in a window of time, and what is going on now in this process."""

    window: str
    since: datetime
    turns: Turns
    tokens: Tokens
    cost_usd: Annotated[float, Field(ge=0)]
    time_to_first_token_ms: Quantiles
    total_ms: Quantiles
    errors: dict[str, Count]
    """Failed turns by error code."""
    budget: Budget | None
    """Null where none is set."""
    active_turns: Count
    active_streams: Count
    keys: list[KeyState]


class Alive(AnswerModel):
    """The process runs."""

    status: Literal["alive"]


class Ready(AnswerModel):
    """New requests may be sent here."""

    status: Literal["ready"]
