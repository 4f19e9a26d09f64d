"""Tokens of our own issuing: JWTs (RFC 7519) signed with HMAC-SHA256, for users who signed in."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from gateway.core.errors import GatewayError

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "m3ajem-gateway"
_AUDIENCE: Final = "m3ajem-gateway/chat"
_KIND: Final = "m3ajem+jwt"
_SKEW_S: Final = 60
_MAX_ID: Final = 2**31 - 1
_USER_ID: Final = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)

UNVERIFIABLE: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What decoding bytes that anybody may have written can raise."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a genuine token says; times are Unix seconds."""

    user_id: int
    issued_at: int
    expires_at: int


class Tokens:
    """Issues with the first secret and accepts all of them, so that a secret can be replaced without signing anyone out."""

    def __init__(self, secrets: Sequence[str], lifetime_s: float, clock: Callable[[], float] = time.time) -> None:
        if not secrets:
            raise ValueError("takes at least one secret")
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._lifetime_s = lifetime_s
        self._clock = clock

    def issue(self, user_id: int) -> str:
        """A token for a user."""
        now = int(self._clock())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "exp": now + int(self._lifetime_s),
        }
        return jwt.encode(claims, self._secrets[0], algorithm=_ALGORITHM, headers={"typ": _KIND})

    def verify(self, token: str) -> Verified:
        """Raises `GatewayError` `unauthenticated`."""
        for secret in self._secrets:
            try:
                return self._read(jwt.decode_complete(token, secret, algorithms=[_ALGORITHM], **_CHECKS))
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise GatewayError("unauthenticated", "The session has expired; sign in again.") from None
            except UNVERIFIABLE:
                break
        raise GatewayError("unauthenticated", "The token is not valid; sign in again.")

    def _read(self, decoded: dict[str, Any]) -> Verified:
        claims, header = decoded["payload"], decoded["header"]
        if header.get("typ") != _KIND or not _USER_ID.fullmatch(claims["sub"]):
            raise ValueError("not a token of ours")
        user_id, issued_at, expires_at = int(claims["sub"]), claims["iat"], claims["exp"]
        if user_id > _MAX_ID or type(issued_at) is not int or type(expires_at) is not int:
            raise ValueError("not a token of ours")
        now = self._clock()
        if issued_at > now + _SKEW_S:
            raise ValueError("issued in the future")
        if expires_at <= now:
            raise jwt.ExpiredSignatureError("expired")
        return Verified(user_id, issued_at, expires_at)


# Expiry and issue are compared with the clock given, which replicas may have a little apart.
_CHECKS: Final[dict[str, Any]] = {
    "issuer": _ISSUER,
    "audience": _AUDIENCE,
    "options": {
        "require": ["exp", "iat", "sub", "aud", "iss"],
        "verify_exp": False,
        "verify_iat": False,
        "strict_aud": True,
    },
}
