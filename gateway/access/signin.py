"""Signing in: an issuer's identity token against a token of ours."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.access.identity import IdentityVerifier, Provider
from gateway.access.tokens import Tokens
from gateway.access.users import User, Users
from gateway.core.errors import GatewayError
from gateway.store.base import StoreUnavailable


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What the app gets."""

    token: str
    user: User


class SignIn:
    """Every way to sign in. Without a secret to sign tokens with, nobody can."""

    def __init__(self, verifiers: Mapping[Provider, IdentityVerifier], users: Users, tokens: Tokens | None) -> None:
        self._verifiers = verifiers
        self._users = users
        self._tokens = tokens

    async def sign_in(self, provider: Provider, identity_token: str, claimed_subject: str | None = None) -> SignedIn:
        """Raises `GatewayError`: `unauthenticated`, `forbidden`, `provider_not_configured`, `sign_in_unavailable`.

        `claimed_subject` is the user id that the client sends beside the token; it must be the token's.
        """
        if self._tokens is None:
            raise GatewayError("provider_not_configured", "Signing in is not set up here.")
        identity = await self._verifiers[provider].verify(identity_token, claimed_subject)
        try:
            user = await self._users.sign_in(identity)
        except StoreUnavailable:
            raise GatewayError("sign_in_unavailable", "Signing in is not possible now; try again.", retry_after=5) from None
        return SignedIn(self._tokens.issue(user.id), user)
