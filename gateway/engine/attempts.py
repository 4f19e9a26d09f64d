"""From a prompt to events: which calls are made until one answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, Failed
from gateway.core.messages import Prompt
from gateway.engine.routing import Choice, Router
from gateway.engine.upstream import Upstream
from gateway.providers.base import Route


class Attempts:
    """Makes the upstream calls of a turn."""

    def __init__(self, router: Router, upstream: Upstream) -> None:
        self._router = router
        self._upstream = upstream

    async def events(self, choice: Choice, prompt: Prompt, *, stream: bool) -> AsyncGenerator[list[Event], None]:
        """Batches of events, the last event terminal; never raises an `UpstreamError`."""
        target = choice.target
        route = self._router.route(target, choice.model, target.keys[0])
        while True:
            try:
                async with aclosing(self._call(choice, route, prompt, stream)) as batches:
                    async for batch in batches:
                        yield batch
                return
            except UpstreamError as error:
                parameter = error.refused_parameter
                if parameter is None or parameter in route.dropped:
                    yield [Failed(error)]
                    return
                self._router.remember_refusal(route, parameter)
                route = self._router.route(target, choice.model, target.keys[0])

    async def _call(self, choice: Choice, route: Route, prompt: Prompt, stream: bool) -> AsyncGenerator[list[Event], None]:
        wire = choice.target.wire
        request = wire.encode(prompt, route, stream)
        if not stream:
            yield await self._upstream.whole(wire, request)
            return
        async with aclosing(self._upstream.stream(wire, request)) as batches:
            async for batch in batches:
                yield batch
