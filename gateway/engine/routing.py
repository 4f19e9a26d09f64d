"""Which provider, model and key a turn goes to."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final, Literal

from gateway.core.errors import GatewayError
from gateway.core.value import value
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.keys import KeyHealth, KeyPool
from gateway.engine.rests import RestPolicy
from gateway.providers.base import Provider, Route

ALIASES = {"gemini": "google"}
_MAX_REMEMBERED = 1000
_AWAY: Final = frozenset({"open", "half_open", "refused", "quota"})


@value
class Target:
    """A provider as it is configured: its wire format, address, keys and the models a request may ask for.

    `wires` holds the formats of the models that are asked in another one than `wire`.
    """

    name: str
    wire: Provider
    base_url: str
    keys: tuple[str, ...] = field(repr=False)
    models: tuple[str, ...]
    wires: Mapping[str, Provider] = field(default_factory=dict)

    @property
    def default_model(self) -> str:
        """What is asked when a request names no model."""
        return self.models[0]


@value
class Choice:
    """Whom a turn asks; `pinned` when the request named the provider."""

    target: Target
    model: str
    pinned: bool

    @property
    def wire(self) -> Provider:
        """The format in which the model is asked."""
        return self.target.wires.get(self.model, self.target.wire)


@value
class ProviderHealth:
    """A provider as operators see it: `down` while no key of its is of use (failing, refused, or without quota)."""

    state: Literal["up", "down", "unconfigured"]
    keys: tuple[KeyHealth, ...]

    @property
    def usable(self) -> tuple[KeyHealth, ...]:
        """The keys that are not away."""
        return tuple(key for key in self.keys if key.state not in _AWAY)


class Router:
    """Knows the configured providers, how their keys fare, and what their models have refused so far.

    `fallback` names the providers to turn to, in order, when the one chosen cannot answer; those without a key are left out.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        default_provider: str,
        fallback: Sequence[str] = (),
        *,
        allow_fallback_when_pinned: bool = False,
        breaker: BreakerPolicy | None = None,
        rest: RestPolicy | None = None,
    ) -> None:
        self.targets: Mapping[str, Target] = {target.name: target for target in targets}
        self.default_provider = default_provider
        self.pools: Mapping[str, KeyPool] = {
            target.name: KeyPool(target.name, target.keys, breaker, rest) for target in targets if target.keys
        }
        self._fallback = tuple(
            Choice(self.targets[name], self.targets[name].default_model, pinned=False)
            for name in dict.fromkeys(fallback)
            if name in self.pools
        )
        self._allow_fallback_when_pinned = allow_fallback_when_pinned
        self._refused: dict[tuple[str, str], frozenset[str]] = {}

    def choose(self, provider: str | None, model: str | None, *, pinned: bool | None = None) -> Choice:
        """Raises `GatewayError`: `unknown_provider`, `unknown_model`, `provider_not_configured`."""
        name = ALIASES.get(provider, provider) if provider else self.default_provider
        target = self.targets.get(name)
        if target is None:
            known = ", ".join(self.targets)
            raise GatewayError("unknown_provider", f"There is no such provider; choose one of {known}.")
        if model is not None and model not in target.models:
            raise GatewayError("unknown_model", f"The provider {name} does not offer this model here.")
        choice = Choice(target, model or target.default_model, pinned=provider is not None if pinned is None else pinned)
        if target.keys:
            return choice
        for other in self.chain(choice)[1:]:
            return other
        raise GatewayError("provider_not_configured", f"The provider {name} has no API key on this server.")

    def chain(self, choice: Choice) -> tuple[Choice, ...]:
        """The choice and those to turn to when it cannot answer, in order."""
        if not self._fallback or (choice.pinned and not self._allow_fallback_when_pinned):
            return (choice,)
        return (choice, *(other for other in self._fallback if other.target is not choice.target))

    def route(self, target: Target, model: str, key: str) -> Route:
        """Where one call goes, without the parameters the model has refused before."""
        return Route(target.name, model, target.base_url, key, self._refused.get((target.name, model), frozenset()))

    def remember_refusal(self, route: Route, parameter: str) -> None:
        """The model refused a request parameter: leave it out from now on."""
        known = self._refused.get((route.provider, route.model))
        if known is not None or len(self._refused) < _MAX_REMEMBERED:
            self._refused[(route.provider, route.model)] = (known or frozenset()) | {parameter}

    def health(self) -> dict[str, ProviderHealth]:
        """How every provider and key fares, by provider; cheap, and without asking anybody."""
        return {name: _health(self.pools.get(name)) for name in self.targets}


def _health(pool: KeyPool | None) -> ProviderHealth:
    if pool is None:
        return ProviderHealth("unconfigured", ())
    found = ProviderHealth("up", pool.health())
    return found if found.usable else ProviderHealth("down", found.keys)
