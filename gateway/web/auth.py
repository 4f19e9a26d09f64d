"""/auth: signing in as the app does, and the caller's own account."""

from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from gateway.access.callers import Caller, user_caller
from gateway.access.identity import Provider
from gateway.access.users import User
from gateway.core.errors import GatewayError
from gateway.core.jsontext import clean, is_object, loads
from gateway.web.edge import QUOTA, read_json_body
from gateway.web.monitoring import json_response
from gateway.web.services import SERVICES, Services
from gateway.web.validation import invalid

Model = TypeVar("Model", bound=BaseModel)
Token = Annotated[StrictStr, Field(min_length=1, max_length=16_384)]
Text = Annotated[StrictStr, Field(max_length=1000)]


class GoogleSignIn(BaseModel):
    """What the app sends after signing in with Google, in the query or as a JSON body."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    id_token: Token
    """The identity token that Google gave the app."""


class AppleSignIn(BaseModel):
    """What the app sends after signing in with Apple; `user_id`, if given, must be the token's, `email` is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    identity_token: Token
    """The identity token that Apple gave the app."""
    user_id: Text | None = None
    """Whom the app thinks it is: another than the token's is refused."""
    email: Text | None = None
    """Not looked at."""


async def google(request: web.Request) -> web.Response:
    """Sign in with Google."""
    await _count(request)
    sent = await _sent(request, GoogleSignIn)
    return await _sign_in(request, "google", sent.id_token, None)


async def apple(request: web.Request) -> web.Response:
    """Sign in with Apple."""
    await _count(request)
    sent = await _sent(request, AppleSignIn)
    return await _sign_in(request, "apple", sent.identity_token, sent.user_id or None)


async def me(request: web.Request) -> web.Response:
    """The signed-in user's account."""
    services = request.app[SERVICES]
    user = await _user(request)
    created = user.created_at.isoformat(timespec="milliseconds") + "Z" if user.created_at else None
    return json_response({**await _account(services, user), "provider": user.provider, "created_at": created})


async def forget_me(request: web.Request) -> web.Response:
    """Delete the signed-in user and all they said."""
    services = request.app[SERVICES]
    user = await _user(request)
    await services.accounts.users.delete(user.id)
    gone = user_caller(user.id)
    services.engine.forget_caller(gone)
    if services.shared is not None:
        await services.shared.sharing.forget_caller(gone)
    return web.Response(status=204)


async def _user(request: web.Request) -> User:
    services = request.app[SERVICES]
    caller = await services.gate.caller(request)
    if caller.user_id is None:
        raise GatewayError("forbidden", "This is for callers who signed in.")
    user = await services.accounts.users.get(caller.user_id)
    if user is None:
        raise GatewayError("unauthenticated", "The account does not exist any more; sign in again.")
    return user


async def _count(request: web.Request) -> None:
    services = request.app[SERVICES]
    address = services.accounts.addresses.of(request.remote, request.headers.getall("X-Forwarded-For", []))
    quota = await services.rates.sign_in(address)
    if quota is not None:
        request[QUOTA] = quota


async def _sent(request: web.Request, kind: type[Model]) -> Model:
    values: dict[str, Any] = {name: clean(value) for name, value in request.query.items()}
    if request.can_read_body:
        try:
            body = loads(await read_json_body(request) or b"{}")
        except ValueError:
            raise GatewayError("invalid_json", "The body is not JSON.") from None
        values = {**(body if is_object(body) else {}), **values}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


async def _sign_in(request: web.Request, provider: Provider, token: str, claimed: str | None) -> web.Response:
    services = request.app[SERVICES]
    signed_in = await services.accounts.sign_in.sign_in(provider, token, claimed)
    return json_response({"token": signed_in.token, "user": await _account(services, signed_in.user)})


async def _account(services: Services, user: User) -> dict[str, Any]:
    caller = Caller("user", user_caller(user.id))
    return {
        "id": user.id,
        "email": user.email,
        "daily_requests": await services.accounts.daily.used(user_caller(user.id)),
        "daily_limit": services.accounts.daily.limit_of(caller),
    }
