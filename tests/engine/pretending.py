"""Providers that do what a test says, call by call, without a socket."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core import events as ev
from gateway.core.errors import GatewayError, UpstreamError, UpstreamKind
from gateway.core.fold import Fold
from gateway.core.messages import ImagePart, Prompt, TextPart, UserMessage
from gateway.core.turn import Reply
from gateway.engine.attempts import Attempts, Heard, Take
from gateway.engine.backoff import Backoff
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.policy import Policy
from gateway.engine.rests import RestPolicy
from gateway.engine.routing import Choice, Router, Target
from gateway.engine.trail import Trail
from gateway.providers.base import Provider, Route, UpstreamRequest
from gateway.providers.registry import PROVIDERS

QUESTION = "ما معنى كلمة «كتاب»؟"
PROMPT = Prompt((UserMessage((TextPart(QUESTION),)),))
AT_ONCE = Backoff(0.0, 0.0)
REPLY = "الكتابُ ما يُكتَبُ فيه."


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as the provider saw it."""

    provider: str
    model: str
    key: str
    dropped: frozenset[str]
    prompt: Prompt
    stream: bool


@dataclass(frozen=True, slots=True)
class Act:
    """What one call does: batches of events, then an error or a silence (None: it ends with its last batch)."""

    batches: Sequence[Sequence[ev.Event]] = ()
    error: GatewayError | None = None
    silent: bool = False
    head: Mapping[str, str] = field(default_factory=dict)


def answers(text: str = REPLY, *, usage: ev.UsageReported | None = None, **head: str) -> Act:
    """A good reply, word by word."""
    words = [[ev.TextDelta(word)] for word in text.split("|")]
    counts: list[list[ev.Event]] = [[usage]] if usage else []
    headers = {name.replace("_", "-"): value for name, value in head.items()}
    return Act([[ev.Started("m")], *words, *counts, [ev.Finished("stop")]], head=headers)


def fails(
    kind: UpstreamKind = "server",
    status: int | None = 500,
    *,
    after: Sequence[ev.Event] = (),
    retry_after: float | None = None,
    parameter: str | None = None,
    retryable: bool | None = None,
) -> Act:
    """A failure, behind a batch of events if there is one."""
    code = "provider_error"
    if kind in ("rate_limited", "overloaded", "quota"):
        code = "provider_overloaded"
    elif kind == "rejected" and status != 404:
        code = "provider_rejected"
    elif kind == "timeout":
        code = "provider_timeout"
    error = UpstreamError(
        code,  # type: ignore[arg-type]
        "…",
        kind=kind,
        upstream_status=status,
        retry_after=retry_after,
        refused_parameter=parameter,
        retryable=retryable,
    )
    return Act([after] if after else [], error)


class Pretended:
    """An upstream that plays acts by provider, the last of them for ever."""

    def __init__(self, **acts: Act | Sequence[Act]) -> None:
        self.acts = {name: [given] if isinstance(given, Act) else list(given) for name, given in acts.items()}
        self.calls: list[Asked] = []
        self.open = 0
        self.waiting = asyncio.Event()
        self._prompts: dict[bytes, tuple[Prompt, Route, bool]] = {}

    def wire(self, name: str) -> Provider:
        """The wire format of a pretended provider; `no-images` in its name makes it refuse images."""

        def encode(prompt: Prompt, route: Route, stream: bool) -> UpstreamRequest:
            parts = [part for message in prompt.messages if isinstance(message, UserMessage) for part in message.parts]
            if name == "groq" and any(isinstance(part, ImagePart) for part in parts):
                raise GatewayError("provider_rejected", "This provider takes no images.")
            body = str(len(self._prompts)).encode()
            self._prompts[body] = prompt, route, stream
            return UpstreamRequest(f"http://{name}", {}, body)

        real = PROVIDERS[name]
        return Provider(encode, real.decoder, real.decode_reply, real.decode_error, real.limits, real.prefill)

    async def whole(self, provider: Provider, request: UpstreamRequest, heard: Heard) -> list[ev.Event]:
        """A whole reply."""
        events: list[ev.Event] = []

        def take(batch: list[ev.Event]) -> bool:
            events.extend(batch)
            return False

        await self.stream(provider, request, take, heard)
        return events

    async def stream(self, provider: Provider, request: UpstreamRequest, take: Take, heard: Heard) -> None:
        """A streamed reply."""
        prompt, route, stream = self._prompts[request.body]
        self.calls.append(Asked(route.provider, route.model, route.api_key, route.dropped, prompt, stream))
        acts = self.acts[route.provider]
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        self.open += 1
        try:
            if act.error is None:
                heard(act.head)
            for batch in act.batches:
                await asyncio.sleep(0)
                if take(list(batch)):
                    return
            if act.silent:
                self.waiting.set()
                await asyncio.Event().wait()
            if act.error is not None:
                raise act.error
        finally:
            self.open -= 1


@dataclass(frozen=True, slots=True)
class Result:
    """What a turn came to."""

    events: list[ev.Event]
    reply: Reply
    trail: Trail

    @property
    def error(self) -> GatewayError | None:
        """Why it failed, if it did."""
        last = self.events[-1]
        return last.error if isinstance(last, ev.Failed) else None

    @property
    def marks(self) -> list[tuple[str, str]]:
        """The status marks."""
        return [(event.state, event.provider) for event in self.events if isinstance(event, ev.Rerouted)]

    @property
    def tried(self) -> list[tuple[str, str, int | None]]:
        """The calls that did not answer."""
        return [(attempt.provider, attempt.code, attempt.upstream_status) for attempt in self.trail.attempts]


class Turns:
    """Turns over pretended providers: `keys` by provider, the first of them the default one."""

    def __init__(
        self,
        upstream: Pretended,
        *,
        keys: Mapping[str, int] | None = None,
        fallback: Sequence[str] = (),
        when_pinned: bool = False,
        policy: Policy | None = None,
        breaker: BreakerPolicy | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        self.upstream = upstream
        names = defaultdict(lambda: "model", models or {})
        numbers = dict.fromkeys(upstream.acts, 1) | dict(keys or {})
        targets = [
            Target(name, upstream.wire(name), "http://x", tuple(f"{name}-{i + 1}" for i in range(number)), (names[name], "other"))
            for name, number in numbers.items()
        ]
        self.router = Router(
            targets,
            targets[0].name,
            fallback,
            allow_fallback_when_pinned=when_pinned,
            breaker=breaker,
            rest=RestPolicy(limited_s=0.0),
        )
        self.attempts = Attempts(self.router, upstream, policy or Policy(backoff=AT_ONCE))

    async def ask(
        self, provider: str | None = None, model: str | None = None, *, prompt: Prompt = PROMPT, stream: bool = True
    ) -> Result:
        """One turn, to its end."""
        choice = self.router.choose(provider, model)
        return await self.run(choice, trail(choice), prompt, stream=stream)

    async def run(self, choice: Choice, trail: Trail, prompt: Prompt = PROMPT, *, stream: bool = True) -> Result:
        """The same with a trail of one's own."""
        events: list[ev.Event] = []

        def take(batch: list[ev.Event]) -> bool:
            for event in batch:
                trail.fold.add(event)
                events.append(event)
            return False

        await self.attempts.run(choice, prompt, trail, take, stream=stream)
        assert [event for event in events if isinstance(event, ev.Finished | ev.Failed)] == events[-1:]
        assert self.upstream.open == 0
        assert all(key.in_flight == 0 for health in self.router.health().values() for key in health.keys)
        return Result(events, trail.fold.reply(), trail)


def trail(choice: Choice) -> Trail:
    """A turn's trail at its beginning."""
    return Trail(choice.target.name, choice.model, Fold(lambda: 0.0))
