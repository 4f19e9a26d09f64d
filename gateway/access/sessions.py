"""The dashboard's session cookie: shows that its browser has held the admin's token, without holding it."""

import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

SESSION_S: Final = 12 * 3600
_SALT: Final = b"m3ajem-gateway dashboard session"
_MAX_CHARS: Final = 200
_MAX_ENDED: Final = 10_000


class Sessions:
    """Signed values that expire. Every process with the same admin token accepts them; another token ends them all."""

    def __init__(self, admin_token: str, lifetime_s: int = SESSION_S, clock: Callable[[], float] = time.time) -> None:
        self._key = _key(admin_token)
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._ended: OrderedDict[str, None] = OrderedDict()

    def create(self) -> str:
        """A new cookie value; it lasts `lifetime_s`."""
        return self._signed(f"{int(self._clock()) + self._lifetime_s}.{os.urandom(16).hex()}")

    def check(self, value: str) -> bool:
        """Whether a cookie value is genuine, in time and not ended."""
        body, _, _ = value.rpartition(".")
        if len(value) > _MAX_CHARS or not value.isascii() or not hmac.compare_digest(self._signed(body), value):
            return False
        return self._clock() < int(body.partition(".")[0]) and value not in self._ended

    def end(self, value: str) -> None:
        """Sign out; remembered by this process (the browser forgets the cookie everywhere)."""
        if self.check(value):
            self._ended[value] = None
            if len(self._ended) > _MAX_ENDED:
                self._ended.popitem(last=False)

    def form_token(self, value: str) -> str:
        """What a form of this session carries, so that no other site can send it."""
        return self._mac(f"form:{value}")

    def form_matches(self, value: str, form_token: str) -> bool:
        """Whether a form was made for this session."""
        return form_token.isascii() and hmac.compare_digest(self.form_token(value), form_token)

    def _signed(self, body: str) -> str:
        return f"{body}.{self._mac(f'session:{body}')}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _key(admin_token: str) -> bytes:
    """Slow on purpose: a stolen cookie must not be a quick way to guess the token."""
    return hashlib.scrypt(admin_token.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)
