"""Identity tokens of Google and Apple (OpenID Connect Core 1.0, section 3.1.3.7), verified here against published keys."""

import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

import jwt

from gateway.access.callers import MAX_TOKEN_CHARS
from gateway.access.jwks import KeySet, KeysUnavailable, UnknownKey
from gateway.access.tokens import UNVERIFIABLE
from gateway.core.errors import GatewayError

log = logging.getLogger(__name__)

Provider = Literal["google", "apple"]

ALGORITHM: Final = "RS256"
SKEW_S: Final = 60
_MAX_SUBJECT_CHARS: Final = 255
_MAX_EMAIL_CHARS: Final = 254
_MAX_KEY_ID_CHARS: Final = 256

ISSUERS: Final[dict[Provider, tuple[str, ...]]] = {
    # https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
    "google": ("https://accounts.google.com", "accounts.google.com"),
    # https://developer.apple.com/documentation/signinwithapple/verifying-a-user
    "apple": ("https://appleid.apple.com",),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an issuer says somebody is. `subject` alone is the identity; `email` is None unless the issuer verified it."""

    provider: Provider
    subject: str
    email: str | None


class IdentityVerifier:
    """Verifies the identity tokens of one issuer; `audiences` are the client ids (Google) or bundle ids (Apple) of the app."""

    def __init__(self, provider: Provider, audiences: Sequence[str], keys: KeySet) -> None:
        self._provider: Provider = provider
        self._audiences = frozenset(audiences)
        self._keys = keys

    @property
    def configured(self) -> bool:
        """Whether anybody can sign in this way."""
        return bool(self._audiences)

    async def verify(self, token: str, claimed_subject: str | None = None) -> Identity:
        """Raises `GatewayError`: `unauthenticated`, `sign_in_unavailable`, `provider_not_configured`.

        `claimed_subject` is what the client says beside the token; it must say the same.
        """
        if not self._audiences:
            raise GatewayError("provider_not_configured", f"Signing in with {self._provider.title()} is not set up here.")
        key = await self._key(token)
        try:
            claims = self._claims(token, key)
            identity = Identity(self._provider, claims["sub"], _verified_email(claims))
        except UNVERIFIABLE as error:
            self._refuse(type(error).__name__)
        if claimed_subject and not hmac.compare_digest(_bytes(claimed_subject), _bytes(identity.subject)):
            self._refuse("another subject claimed")
        return identity

    async def _key(self, token: str) -> jwt.PyJWK:
        if not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
            self._refuse("not a token")
        try:
            header = jwt.get_unverified_header(token)
        except UNVERIFIABLE:
            self._refuse("not a token")
        key_id = header.get("kid")
        if header.get("alg") != ALGORITHM or "crit" in header or not isinstance(key_id, str) or len(key_id) > _MAX_KEY_ID_CHARS:
            self._refuse("unexpected header")
        try:
            return await self._keys.key(key_id)
        except UnknownKey:
            self._refuse("unknown key")
        except KeysUnavailable:
            raise GatewayError(
                "sign_in_unavailable", f"{self._provider.title()} cannot be reached now; try again.", retry_after=5
            ) from None

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=self._audiences,
            issuer=ISSUERS[self._provider],
            leeway=SKEW_S,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        audience = claims["aud"]
        if not isinstance(audience, str) and not self._audiences.issuperset(audience):
            raise jwt.InvalidAudienceError("an audience beside ours")
        if not 0 < len(claims["sub"]) <= _MAX_SUBJECT_CHARS or not claims["sub"].isprintable():
            raise ValueError("not a subject")
        return claims

    def _refuse(self, reason: str) -> NoReturn:
        log.info("an identity token of %s was refused: %s", self._provider, reason)
        raise GatewayError("unauthenticated", "The sign-in could not be verified; try again.")


def _verified_email(claims: dict[str, Any]) -> str | None:
    """Apple writes `email_verified` as a string at times."""
    email = claims.get("email")
    if claims.get("email_verified") not in (True, "true") or not isinstance(email, str):
        return None
    return email if 0 < len(email) <= _MAX_EMAIL_CHARS and email.isprintable() else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
