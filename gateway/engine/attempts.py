"""From a prompt to events: the upstream calls of a turn, until one answers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
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


class Caller(Protocol):
    """Makes single upstream calls; `heard` is called with the head of a good reply."""

    async def whole(self, provider: Provider, request: UpstreamRequest, heard: Heard) -> list[Event]:
        """A whole reply's events, the last terminal. Raises `UpstreamError`."""
        ...

    def stream(self, provider: Provider, request: UpstreamRequest, heard: Heard) -> AsyncGenerator[list[Event], None]:
        """Batches of events, none empty, the last event terminal. Raises `UpstreamError`."""
        ...


class Attempts:
    """Makes the upstream calls of turns: retries, other keys, other providers, continuations."""

    def __init__(self, router: Router, upstream: Caller, policy: Policy | None = None) -> None:
        self._router = router
        self._upstream = upstream
        self._policy = policy or Policy()

    async def events(self, choice: Choice, prompt: Prompt, trail: Trail, *, stream: bool) -> AsyncGenerator[list[Event], None]:
        """Batches of events, the last event terminal; never raises a `GatewayError`.

        The consumer adds each batch to `trail.fold` before it asks for the next: what has been put out is read from there.
        """
        course = Course(self._router, self._policy, choice, trail, asyncio.get_running_loop().time)
        step = course.first()
        while not isinstance(step, GiveUp):
            if isinstance(step, Pause):
                if step.mark is not None:
                    yield [step.mark]
                await asyncio.sleep(step.seconds)
                step = course.resume()
                continue
            # A mark stands on the tape too, but is no output.
            start = trail.fold.tape.end + (step.mark is not None)
            try:
                async with aclosing(self._made(step, course, prompt, trail, stream)) as batches:
                    async for batch in batches:
                        yield batch
                return
            except GatewayError as error:
                step = course.failed(step, error, spoken=trail.fold.tape.end > start)
        if trail.parts and trail.own == NOTHING:
            yield [trail.usage_before()]
        yield [*trail.unsaid, Failed(step.error)]

    async def _made(
        self, call: Call, course: Course, prompt: Prompt, trail: Trail, stream: bool
    ) -> AsyncGenerator[list[Event], None]:
        """One call's batches, behind its mark; raises a `GatewayError` in place of `Failed`."""
        lease, wire = call.lease, call.stop.wire
        begun = course.broken_off
        seam = None if begun is None else Seam(begun, trail)
        try:
            if call.mark is not None:
                yield [call.mark]
            asked = prompt if begun is None else continued(prompt, begun, prefill=wire.prefill(call.stop.model))
            request = wire.encode(asked, call.route, stream)
            heard = partial(_note_limits, lease, wire)
            if not stream:
                batch = _good(await self._upstream.whole(wire, request, heard), trail)
                lease.succeeded()
                yield batch
                return
            start = trail.fold.tape.end
            async with aclosing(self._upstream.stream(wire, request, heard)) as batches:
                async for batch in batches:
                    last = batch[-1]
                    if isinstance(last, Finished):
                        lease.succeeded()
                    elif isinstance(last, Failed):
                        batch = batch[:-1]
                    if seam is not None:
                        batch = seam.join(batch)
                    if batch:
                        yield batch
                    if isinstance(last, Failed):
                        raise last.error
                    if lease.probing and trail.fold.tape.end > start:
                        lease.spoke()
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
