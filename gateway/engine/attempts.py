"""From a prompt to events: the upstream calls of a turn, until one answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from gateway.core.errors import GatewayError, UpstreamError
from gateway.core.events import Event, Failed, Finished
from gateway.core.messages import Prompt
from gateway.engine.continuation import Seam, continued
from gateway.engine.course import Call, Course, GiveUp, Pause
from gateway.engine.lease import Lease
from gateway.engine.policy import Policy
from gateway.engine.routing import Choice, Router
from gateway.engine.trail import Trail
from gateway.engine.usage import NOTHING
from gateway.providers.base import Provider, UpstreamRequest

log = logging.getLogger(__name__)

Heard = Callable[[Mapping[str, str]], None]
Take = Callable[[list[Event]], bool]


class Caller(Protocol):
    """Makes single upstream calls; `heard` is called with the head of a good reply."""

    async def whole(self, provider: Provider, request: UpstreamRequest, heard: Heard) -> list[Event]:
        """A whole reply's events, the last terminal. Raises `UpstreamError`."""
        ...

    async def stream(self, provider: Provider, request: UpstreamRequest, take: Take, heard: Heard) -> None:
        """Gives `take` batches, none empty, the last event terminal, until it has had enough. Raises `UpstreamError`."""
        ...


class Source(Protocol):
    """Where a turn's reply comes from."""

    async def run(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        """Give `take` batches of events, the last event terminal, or none more once it returns that it has had enough.

        It adds each batch to `trail.fold`: what has been put out is read from there. Never raises a `GatewayError`.
        """
        ...


class Attempts:
    """Makes the upstream calls of turns: retries, other keys, other providers, continuations."""

    def __init__(self, router: Router, upstream: Caller, policy: Policy | None = None) -> None:
        self._router = router
        self._upstream = upstream
        self._policy = policy or Policy()

    async def run(self, choice: Choice, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        """See `Source`."""
        # Another JSON document would be begun where the first broke off.
        policy = self._policy if prompt.format is None else replace(self._policy, continue_on_break=False)
        course = Course(self._router, policy, choice, trail, time.monotonic)
        if trail.parts:
            # Another turn's call, which broke off, brought what has come.
            course.broken_off = trail.fold.reply().content
        step = course.first()
        while not isinstance(step, GiveUp):
            if isinstance(step, Pause):
                if step.mark is not None and take([step.mark]):
                    return
                await asyncio.sleep(step.seconds)
                step = course.resume()
                continue
            # A mark stands on the tape too, but is no output.
            start = trail.fold.tape.end + (step.mark is not None)
            try:
                await self._make(step, course, prompt, trail, take, stream=stream)
            except GatewayError as error:
                # It may stay with the turn, and would keep what was asked, through the frames that it was raised in.
                error.__traceback__ = error.__cause__ = error.__context__ = None
                step = course.failed(step, error, spoken=trail.fold.tape.end > start)
            else:
                return
        used = [trail.usage_before()] if trail.parts and trail.own == NOTHING else []
        take([*used, *trail.unsaid, Failed(step.error)])

    async def _make(self, call: Call, course: Course, prompt: Prompt, trail: Trail, take: Take, *, stream: bool) -> None:
        """Make one call, behind its mark; raises a `GatewayError` in place of `Failed`."""
        lease, wire = call.lease, call.stop.wire
        begun = course.broken_off
        try:
            if call.mark is not None and take([call.mark]):
                return
            asked = prompt if begun is None else continued(prompt, begun, prefill=wire.prefill(call.stop.model))
            heard = partial(_note_limits, lease, wire)
            # The request gets no name here: this frame would hold it for as long as the answer takes.
            if stream:
                passage = _Passage(take, lease, trail, None if begun is None else Seam(begun, trail))
                await self._upstream.stream(wire, wire.encode(asked, call.route, stream), passage.take, heard)
                if passage.failure is not None:
                    raise passage.failure
                return
            batch = _good(await self._upstream.whole(wire, wire.encode(asked, call.route, stream), heard), trail)
            lease.succeeded()
            take(batch)
        except UpstreamError as error:
            error.upstream_text = _without_key(error.upstream_text, lease.secret)
            log.info("a call failed", extra={"key": lease.name, "kind": error.kind, "upstream_status": error.upstream_status})
            lease.failed(error)
            raise
        except asyncio.CancelledError:
            _note_lateness(course, lease, trail)
            raise
        finally:
            lease.release()


class _Passage:
    """Hands on what a streamed call brings, and tells the lease what it means; a `failure` is kept back."""

    __slots__ = ("_lease", "_seam", "_start", "_take", "_trail", "failure")

    def __init__(self, take: Take, lease: Lease, trail: Trail, seam: Seam | None) -> None:
        self._take = take
        self._lease = lease
        self._trail = trail
        self._seam = seam
        self._start = trail.fold.tape.end
        self.failure: GatewayError | None = None

    def take(self, batch: list[Event]) -> bool:
        last = batch[-1]
        if isinstance(last, Finished):
            self._lease.succeeded()
        elif isinstance(last, Failed):
            batch = batch[:-1]
        if self._seam is not None:
            batch = self._seam.join(batch)
        enough = self._take(batch) if batch else False
        if isinstance(last, Failed) and not enough:
            self.failure = last.error
        if self._lease.probing and self._trail.fold.tape.end > self._start:
            self._lease.spoke()
        return enough


def _without_key(text: str, key: str) -> str:
    """Some providers repeat the key that they refuse; servers of one's own may need none."""
    return text.replace(key, "[key]") if key else text


def _note_limits(lease: Lease, wire: Provider, head: Mapping[str, str]) -> None:
    lease.spent(wire.limits(head))


def _note_lateness(course: Course, lease: Lease, trail: Trail) -> None:
    """A call that lasted to the end of its turn's time has failed; one that somebody stopped has not."""
    if course.over:
        late = UpstreamError("provider_timeout", "The reply took longer than the server allows.", kind="timeout")
        lease.failed(late)
        trail.failed(late)


def _good(batch: list[Event], trail: Trail) -> list[Event]:
    """A whole reply is shown when it is good; what there is of a broken one, when nothing better comes."""
    last = batch[-1]
    if isinstance(last, Failed):
        trail.unsaid = batch[:-1]
        raise last.error
    return batch
