"""An identity issuer's published keys (JWK sets, RFC 7517): fetched when needed, kept while the issuer is away."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.core.jsontext import is_object, loads

log = logging.getLogger(__name__)

FRESH_S: Final = 3600.0
_REFRESH_S: Final = 30.0
_RETRY_S: Final = 5.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 64
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192


class UnknownKey(Exception):
    """The issuer publishes no such key."""


class KeysUnavailable(Exception):
    """The issuer cannot be asked, and no key known here answers."""


class KeySet:
    """The keys at one address for one algorithm.

    Keys older than `FRESH_S` are fetched again, and an unknown key id asks at most once in `refresh_s`, so that forged ids
    are no way to make this server call out. Only the address given here is ever called, and no redirect is followed.
    """

    def __init__(
        self,
        url: str,
        algorithm: str,
        session: aiohttp.ClientSession,
        *,
        refresh_s: float = _REFRESH_S,
        retry_s: float = _RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._algorithm = algorithm
        self._session = session
        self._refresh_s = refresh_s
        self._retry_s = retry_s
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._loaded = float("-inf")
        self._tried = float("-inf")
        self._failed = False
        self._lock = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK:
        """Raises `UnknownKey`, `KeysUnavailable`."""
        known = self._keys.get(key_id)
        stale = self._clock() - self._loaded > FRESH_S
        # While somebody else asks for newer keys, an old one still serves.
        if known is None or (stale and not self._lock.locked()):
            await self._refresh()
            known = self._keys.get(key_id)
        if known is not None:
            return known
        raise KeysUnavailable if self._failed else UnknownKey

    async def _refresh(self) -> None:
        async with self._lock:
            if self._clock() - self._tried < (self._retry_s if self._failed else self._refresh_s):
                return
            try:
                self._keys = await self._fetch()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.warning("the keys at %s cannot be had: %s", self._url, type(error).__name__)
                self._failed = True
            else:
                self._loaded, self._failed = self._clock(), False
            self._tried = self._clock()

    async def _fetch(self) -> Mapping[str, jwt.PyJWK]:
        async with self._session.get(self._url, timeout=_TIMEOUT, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise ValueError("too large")
        return read_keys(bytes(body), self._algorithm)


def read_keys(body: bytes, algorithm: str) -> Mapping[str, jwt.PyJWK]:
    """The usable signing keys of a JWK set by key id. Raises `ValueError` when there is none."""
    document = loads(body)
    entries = document.get("keys") if is_object(document) else None
    known = entries[:_MAX_KEYS] if isinstance(entries, list) else []
    keys = {entry["kid"]: key for entry in known if (key := _key(entry, algorithm)) is not None}
    if not keys:
        raise ValueError("no usable key")
    return keys


def _key(entry: Any, algorithm: str) -> jwt.PyJWK | None:
    """None for what is no public key for this algorithm: other kinds may stand in the same set."""
    if not is_object(entry) or not isinstance(entry.get("kid"), str) or "d" in entry:
        return None
    if entry.get("use") not in (None, "sig") or entry.get("alg") not in (None, algorithm) or entry.get("kty") != "RSA":
        return None
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    public = key.key
    if not isinstance(public, RSAPublicKey) or not _MIN_RSA_BITS <= public.key_size <= _MAX_RSA_BITS:
        return None
    return key
