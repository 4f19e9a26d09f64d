"""Rates as people write them: `20/minute`, `5/second;100/hour`, `1 per 2 seconds`."""

import re
from dataclasses import dataclass
from typing import Final

_NONE: Final = ("", "0", "none", "off")
_MOST: Final = 100_000
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE: Final = re.compile(r"\s*(\d{1,9})\s*(?:/|per)\s*(\d{0,3})\s*(second|minute|hour|day)s?\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: int
    text: str


Rates = tuple[Rate, ...]


def parse_rates(text: str) -> Rates:
    """Read one rate, or several with semicolons or commas between them; `none` or nothing is no limit. Raises `ValueError`."""
    if text.strip().lower() in _NONE:
        return ()
    return tuple(_rate(one) for one in re.split("[;,]", text))


def _rate(text: str) -> Rate:
    found = _RATE.fullmatch(text)
    amount = int(found[1]) if found else 0
    length = int(found[2] or 1) if found else 0
    if found is None or not 0 < amount <= _MOST or not length:
        raise ValueError("takes a rate such as 20/minute, or several as 5/second;100/hour")
    return Rate(amount, length * _SECONDS[found[3].lower()], text.strip())
