"""Rates as people write them: `20/minute`, `5/second;100/hour`, `1 per 2 seconds`."""

import re
from dataclasses import dataclass
from typing import Final

_NONE: Final = ("", "0", "none", "off")
_MOST: Final = 100_000
_DAY_S: Final = 86_400
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": _DAY_S, "month": 30 * _DAY_S, "year": 360 * _DAY_S}
_LONGEST_S: Final = 366 * _DAY_S
_RATE: Final = re.compile(rf"\s*(\d{{1,9}})\s*(?:/|per)\s*(\d{{0,9}})\s*({'|'.join(_SECONDS)})s?\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: int
    text: str


Rates = tuple[Rate, ...]


def parse_rates(text: str) -> Rates:
    """Read one rate, or several with `;`, `,` or `|` between them; `none` or nothing is no limit. Raises `ValueError`."""
    if text.strip().lower() in _NONE:
        return ()
    return tuple(_rate(one) for one in re.split("[;,|]", text))


def _rate(text: str) -> Rate:
    if found := _RATE.fullmatch(text):
        amount, units, unit = found.groups()
        rate = Rate(int(amount), int(units or 1) * _SECONDS[unit.lower()], text.strip())
        if 0 < rate.amount <= _MOST and 0 < rate.seconds <= _LONGEST_S:
            return rate
    raise ValueError("takes a rate such as 20/minute, or several as 5/second;100/hour")
