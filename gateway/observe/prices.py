"""What a turn cost, by the operator's own prices or else by the offline price list of `genai-prices`.

One look-up in that library takes a quarter of a millisecond, as much as the rest of a turn. Between two of a model's price
tiers the price is linear in the token counts, so the four unit prices are asked of the library once and kept for an hour
(some prices change with the time of day).
"""

import time
from bisect import bisect_left
from datetime import UTC, datetime
from typing import Any, Final

from genai_prices import Usage, data_snapshot

from gateway.core.events import UsageReported
from gateway.observe.price_file import NO_PRICES, PriceTable, UnitPrices

KEPT_S: Final = 3600
_MAX_MODELS: Final = 1000
_PROBE: Final = 1_000_000


class Prices:
    """Prices turns; a model or provider that neither `own` nor the list knows costs None."""

    def __init__(self, own: PriceTable = NO_PRICES) -> None:
        self._own = own
        self._tiers: dict[tuple[str, str], tuple[float, tuple[int, ...]]] = {}
        self._units: dict[tuple[str, str, int], UnitPrices | None] = {}

    def __call__(self, provider: str, model: str, usage: UsageReported) -> float | None:
        """US dollars for one turn; None when the model's price or its token counts are unknown."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        units = self._own.find(provider, model) or self._unit_prices(provider, model, usage.input_tokens)
        if units is None:
            return None
        cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
        plain = max(0, usage.input_tokens - cached - written)
        cost = plain * units.input + cached * units.cached + written * units.cache_write
        return round(cost + usage.output_tokens * units.output, 10)

    def _unit_prices(self, provider: str, model: str, input_tokens: int) -> UnitPrices | None:
        key = (provider, model)
        expires, tiers = self._tiers.get(key, (0.0, ()))
        if time.monotonic() >= expires:
            if len(self._tiers) >= _MAX_MODELS:
                self._tiers.clear()
                self._units.clear()
            tiers = _tier_starts(provider, model)
            self._tiers[key] = (time.monotonic() + KEPT_S, tiers)
            for tier in range(len(tiers) + 1):
                self._units.pop((provider, model, tier), None)
        tier = bisect_left(tiers, input_tokens)
        place = (provider, model, tier)
        if place not in self._units:
            self._units[place] = _probe(provider, model, tiers, tier)
        return self._units[place]


def _find(provider: str, model: str) -> tuple[Any, Any] | None:
    try:
        return data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None


def _tier_starts(provider: str, model: str) -> tuple[int, ...]:
    """Input sizes at which a price changes."""
    found = _find(provider, model)
    if found is None:
        return ()
    prices = found[1].get_prices(_now())
    starts = {
        tier.start
        for value in vars(prices).values()
        for tier in getattr(value, "tiers", ())
        if isinstance(getattr(tier, "start", None), int)
    }
    return tuple(sorted(starts))


def _probe(provider: str, model: str, tiers: tuple[int, ...], tier: int) -> UnitPrices | None:
    found = _find(provider, model)
    if found is None:
        return None
    size = tiers[tier] if tier < len(tiers) else (tiers[-1] if tiers else 0) + _PROBE

    def price(**counts: int) -> float:
        usage = Usage(input_tokens=size, **counts)
        result = found[1].calc_price(usage, found[0], genai_request_timestamp=_now())
        return float(result.total_price)

    plain = price(output_tokens=0)
    return UnitPrices(
        input=plain / size,
        cached=price(output_tokens=0, cache_read_tokens=size) / size,
        cache_write=price(output_tokens=0, cache_write_tokens=size) / size,
        output=(price(output_tokens=_PROBE) - plain) / _PROBE,
    )


def _now() -> datetime:
    return datetime.now(UTC)
