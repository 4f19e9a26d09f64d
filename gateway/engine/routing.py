"""Which provider, model and key a turn goes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.errors import GatewayError
from gateway.providers.base import Provider, Route

ALIASES = {"gemini": "google"}
_MAX_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """A provider as it is configured: its wire format, address, keys and the models a request may ask for."""

    name: str
    wire: Provider
    base_url: str
    keys: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def default_model(self) -> str:
        """What is asked when a request names no model."""
        return self.models[0]


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom a turn asks first; `pinned` when the request named the provider."""

    target: Target
    model: str
    pinned: bool


class Router:
    """Knows the configured providers, and what their models have refused so far."""

    def __init__(self, targets: Sequence[Target], default_provider: str) -> None:
        self.targets: Mapping[str, Target] = {target.name: target for target in targets}
        self.default_provider = default_provider
        self._refused: dict[tuple[str, str], frozenset[str]] = {}

    def choose(self, provider: str | None, model: str | None) -> Choice:
        """Raises `GatewayError`: `unknown_provider`, `unknown_model`, `provider_not_configured`."""
        name = ALIASES.get(provider, provider) if provider else self.default_provider
        target = self.targets.get(name)
        if target is None:
            known = ", ".join(self.targets)
            raise GatewayError("unknown_provider", f"There is no such provider; choose one of {known}.")
        if not target.keys:
            raise GatewayError("provider_not_configured", f"The provider {name} has no API key on this server.")
        if model is not None and model not in target.models:
            raise GatewayError("unknown_model", f"The provider {name} does not offer this model here.")
        return Choice(target, model or target.default_model, pinned=provider is not None)

    def route(self, target: Target, model: str, key: str) -> Route:
        """Where one call goes, without the parameters the model has refused before."""
        dropped = self._refused.get((target.name, model), frozenset())
        return Route(target.name, model, target.base_url, key, dropped)

    def remember_refusal(self, route: Route, parameter: str) -> None:
        """The model refused a request parameter: leave it out from now on."""
        if len(self._refused) < _MAX_REMEMBERED:
            self._refused[(route.provider, route.model)] = route.dropped | {parameter}
