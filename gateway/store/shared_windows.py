"""Moving windows of rate limits in Redis, which all processes count in together."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.core.rates import Rate
from gateway.store.redis_line import Command, RedisLine, RedisRefusal

_PREFIX: Final = "m3ajem:limits:2"
_ANSWER_S: Final = 0.5
_SCRIPT: Final = Path(__file__).with_suffix(".lua").read_bytes()
_NAME: Final = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()


class SharedWindows:
    """Windows that all replicas share, by Redis's clock. `hit` raises `RelayUnavailable` within about a second."""

    def __init__(self, url: str) -> None:
        """Connects when first used. Raises `ValueError` for an address that is none."""
        self._line = RedisLine(url, _ANSWER_S)

    async def hit(self, rates: Sequence[Rate], name: str) -> list[tuple[bool, int, float]]:
        """One round trip. For each rate, up to the first that is used up: whether there was room for one more, how many remain,
        and in how many seconds the oldest leaves the window."""
        keys = [f"{_PREFIX}:{rate.amount}/{rate.seconds}/{name}" for rate in rates]
        bounds = [bound for rate in rates for bound in (rate.amount, 1000 * rate.seconds)]
        words: Command = (len(keys), *keys, *bounds)
        try:
            [found] = await self._line.ask(("EVALSHA", _NAME, *words))
        except RedisRefusal as refusal:
            if refusal.code != "NOSCRIPT":
                raise
            [found] = await self._line.ask(("EVAL", _SCRIPT, *words))
        return [(bool(passed), left, milliseconds / 1000) for passed, left, milliseconds in found]

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
