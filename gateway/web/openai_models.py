"""GET /v1/models, and which provider a model's name stands for."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.core.errors import GatewayError
from gateway.engine.routing import ALIASES, Router
from gateway.web.monitoring import json_response
from gateway.web.services import SERVICES
from gateway.wire.openai_chunks import model_name


@dataclass(frozen=True, slots=True)
class Named:
    """Whose model a name stands for; `pinned`: the name said whose, so that nobody else may answer."""

    provider: str
    model: str
    pinned: bool


async def list_models(request: web.Request) -> web.Response:
    """Every model that may be asked for."""
    services = request.app[SERVICES]
    await services.gate.caller(request)
    targets = [target for target in services.router.targets.values() if target.keys]
    return json_response(
        {"object": "list", "data": [_model(target.name, model) for target in targets for model in target.models]}
    )


async def get_model(request: web.Request) -> web.Response:
    """One of them."""
    services = request.app[SERVICES]
    await services.gate.caller(request)
    named = resolve(services.router, request.match_info["model"])
    return json_response(_model(named.provider, named.model))


def resolve(router: Router, name: str) -> Named:
    """Whose model this is: `provider/model`, or a model's name alone, which may hold slashes too, where one provider has it
    or the default one does. Raises `GatewayError` `unknown_model`."""
    prefix, _, rest = name.partition("/")
    provider = ALIASES.get(prefix, prefix)
    target = router.targets.get(provider)
    if target is not None and rest in target.models:
        return Named(provider, rest, pinned=True)
    having = [target.name for target in router.targets.values() if target.keys and name in target.models]
    if len(having) > 1 and router.default_provider in having:
        having = [router.default_provider]
    match having:
        case [only]:
            return Named(only, name, pinned=False)
        case []:
            raise _unknown("There is no such model here; GET /v1/models lists them.")
        case _:
            choices = ", ".join(model_name(provider, name) for provider in having)
            raise _unknown(f"Several providers have this model; ask for one of {choices}.")


def _unknown(detail: str) -> GatewayError:
    return GatewayError("unknown_model", detail, fields=(("model", "no model of this name"),))


def _model(provider: str, model: str) -> dict[str, Any]:
    """`created` is not known here; the format wants a number."""
    return {"id": model_name(provider, model), "object": "model", "created": 0, "owned_by": provider}
