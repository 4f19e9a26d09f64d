"""The operator's own prices (PRICES_FILE): TOML, a table for each provider and pattern of model names.

[openai."gpt-6-*"]     # * and ? as in file names; of several patterns that fit, the first counts
input = 0.25           # US dollars a million tokens
output = 2.00
cached = 0.025         # input read from a cache; left out: as input
cache_write = 0.3125   # input written to a cache; left out: as input
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

_NEEDED: Final = ("input", "output")
_OPTIONAL: Final = ("cached", "cache_write")
_MILLION: Final = 1_000_000
_MOST_USD: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """US dollars a token: input that was neither read from nor written to a cache, read, written, and output."""

    input: float
    cached: float
    cache_write: float
    output: float


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Unit prices by provider and pattern, in the file's order."""

    rows: tuple[tuple[str, str, UnitPrices], ...]

    def find(self, provider: str, model: str) -> UnitPrices | None:
        """The first row that fits."""
        for name, pattern, prices in self.rows:
            if name == provider and fnmatchcase(model, pattern):
                return prices
        return None


NO_PRICES: Final = PriceTable(())


def read_price_table(path: Path, providers: tuple[str, ...]) -> PriceTable:
    """Read the file. Raises `ValueError`, one line that says where it is wrong and what it takes."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    rows: list[tuple[str, str, UnitPrices]] = []
    for provider, models in found.items():
        if provider not in providers:
            raise ValueError(f"{path}: {provider} is none of the providers {', '.join(providers)}")
        for pattern, prices in _table(path, provider, models).items():
            place = f'{provider}."{pattern}"'
            rows.append((provider, pattern, _unit_prices(path, place, _table(path, place, prices))))
    return PriceTable(tuple(rows))


def _table(path: Path, place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f'{path}: {place} takes tables such as [openai."gpt-6-*"]')  # noqa: TRY004 - it becomes a setting's error
    return value


def _unit_prices(path: Path, place: str, given: Mapping[str, Any]) -> UnitPrices:
    for name in given:
        if name not in (*_NEEDED, *_OPTIONAL):
            raise ValueError(f"{path}: {place} takes {', '.join((*_NEEDED, *_OPTIONAL))}, not {name}")
    for name in _NEEDED:
        if name not in given:
            raise ValueError(f"{path}: {place} needs {name}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_USD:
            raise ValueError(f"{path}: {place}.{name} takes US dollars a million tokens, 0 to {_MOST_USD}")
    a_token = {name: value / _MILLION for name, value in given.items()}
    plain = a_token["input"]
    return UnitPrices(plain, a_token.get("cached", plain), a_token.get("cache_write", plain), a_token["output"])
