"""Who is asking: API keys, our own tokens, the admin's token, or nobody in particular."""

import base64
import binascii
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.access.tokens import Tokens
from gateway.core.errors import GatewayError

MAX_TOKEN_CHARS: Final = 8192
_MAX_HEADER_CHARS: Final = 2 * MAX_TOKEN_CHARS
_MAX_NAME_CHARS: Final = 100
_REMEMBERED: Final = 10_000
_REMEMBERED_S: Final = 60.0

Openness = Literal["closed", "chat", "everything"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in. `id` owns conversations (`user:7`, `key:app`, `admin`); None for nobody in particular.

    `issued_at` is when a user's token was made (Unix seconds).
    """

    kind: Literal["anonymous", "user", "key", "admin"]
    id: str | None = None
    reads_everything: bool = False
    issued_at: int | None = None

    @property
    def stranger(self) -> bool:
        """Whether this is one of many who cannot be told apart, and may not read what the others said."""
        return self.id is None and not self.reads_everything

    @property
    def user_id(self) -> int | None:
        """The id in `users` of a caller who signed in."""
        return int(self.id.removeprefix("user:")) if self.kind == "user" and self.id else None


ADMIN: Final = Caller("admin", "admin", reads_everything=True)


def user_caller(user_id: int) -> str:
    """What a user's conversations carry as their owner."""
    return f"user:{user_id}"


def openness(*, configured: bool, on_loopback: bool, allow_anonymous: Literal["false", "chat", "true"]) -> Openness:
    """What callers without a token may do: nothing as soon as any kind of token is configured."""
    if configured:
        return "closed"
    if allow_anonymous == "chat":
        return "chat"
    return "everything" if on_loopback or allow_anonymous == "true" else "closed"


def name_and_key(pair: str) -> tuple[str, str]:
    """Split one entry of `API_KEYS` at its first colon. Raises `ValueError`, whose text never holds a key."""
    name, _, key = pair.partition(":")
    name, key = name.strip(), key.strip()
    if not name or not key or len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise ValueError("takes name:key pairs, comma-separated")
    if len(key) > MAX_TOKEN_CHARS:
        raise ValueError(f"takes keys of at most {MAX_TOKEN_CHARS} characters")
    return name, key


class Callers:
    """Tells who sends an Authorization header.

    Keys are kept as SHA-256 digests salted anew in every process: what a lookup costs tells nothing about a key, and not
    how many there are. Tokens of ours that were verified lately are remembered the same way, never past their expiry.
    """

    def __init__(
        self,
        api_keys: Sequence[tuple[str, str]],
        tokens: Tokens | None,
        admin_token: str | None,
        opened_to: Openness = "closed",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`api_keys` are (name, key) pairs; several keys may share a name. Raises `ValueError` for a key given twice."""
        self._salt = os.urandom(32)
        self._tokens = tokens
        self._opened_to = opened_to
        self._clock = clock
        self._known: dict[bytes, Caller] = {}
        self._verified: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        for name, key in api_keys:
            self._add(key, Caller("key", f"key:{name}"), "API_KEYS: takes every key once")
        if admin_token is not None:
            self._add(admin_token, ADMIN, "ADMIN_TOKEN: takes a token that is no API key as well")

    def identify(self, authorization: str | None) -> Caller:
        """Whose header this is. Raises `GatewayError` `unauthenticated`."""
        if self._opened_to != "closed":
            return Caller("anonymous", reads_everything=self._opened_to == "everything")
        if authorization is None:
            raise GatewayError("unauthenticated", "This needs a token; sign in first.")
        if len(authorization) > _MAX_HEADER_CHARS:
            raise _refused()
        scheme, _, credentials = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(credentials.strip())
        if scheme.lower() == "basic":
            return self._by_password(credentials.strip())
        raise _refused()

    def _by_token(self, token: str) -> Caller:
        if not token or len(token) > MAX_TOKEN_CHARS:
            raise _refused()
        digest = self._digest(token)
        known = self._known.get(digest)
        if known is not None:
            return known
        if self._tokens is None:
            raise _refused()
        return self._by_own_token(self._tokens, token, digest)

    def _by_own_token(self, tokens: Tokens, token: str, digest: bytes) -> Caller:
        now = self._clock()
        remembered = self._verified.get(digest)
        if remembered is not None and now < remembered[1]:
            return remembered[0]
        verified = tokens.verify(token)
        caller = Caller("user", user_caller(verified.user_id), issued_at=verified.issued_at)
        self._verified[digest] = caller, min(verified.expires_at, now + _REMEMBERED_S)
        self._verified.move_to_end(digest)
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return caller

    def _by_password(self, credentials: str) -> Caller:
        """Browsers can show no bearer token: the admin's token passes as the password of any user name."""
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, ValueError):
            raise _refused() from None
        _, _, password = decoded.partition(":")
        if not password or len(password) > MAX_TOKEN_CHARS or self._known.get(self._digest(password)) is not ADMIN:
            raise _refused()
        return ADMIN

    def _add(self, key: str, caller: Caller, complaint: str) -> None:
        digest = self._digest(key)
        if self._known.setdefault(digest, caller) is not caller:
            raise ValueError(complaint)

    def _digest(self, token: str) -> bytes:
        return hashlib.sha256(self._salt + token.encode("utf-8", "surrogatepass")).digest()


def _refused() -> GatewayError:
    return GatewayError("unauthenticated", "The token is not valid; sign in again.")
