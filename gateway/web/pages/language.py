"""The languages of the interface: English as the pages are written, and Arabic."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.core.jsontext import loads

COOKIE: Final = "gateway_lang"
_MAX_LANGUAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its code, its own name, its direction, and its words for the English ones."""

    code: str
    name: str
    direction: str
    words: Mapping[str, str]

    def __call__(self, text: str) -> str:
        """The text in this language; English where it has no words for it."""
        return self.words.get(text, text)


@cache
def languages() -> Mapping[str, Language]:
    """The languages by code."""
    arabic: dict[str, Any] = loads((Path(__file__).parent / "arabic.json").read_bytes())
    return {"en": Language("en", "English", "ltr", {}), "ar": Language("ar", "العربية", "rtl", arabic)}


def language_of(request: web.Request) -> Language:
    """The language that the address, an earlier choice or the browser asks for."""
    known = languages()
    for code in (request.query.get("lang"), request.cookies.get(COOKIE), *_accepted(request)):
        if code is not None and code in known:
            return known[code]
    return known["en"]


def _accepted(request: web.Request) -> list[str]:
    """Codes out of Accept-Language (RFC 9110, section 12.5.4), the most wanted first."""
    wanted: list[tuple[float, str]] = []
    for part in request.headers.get("Accept-Language", "").split(",")[:_MAX_LANGUAGES]:
        tag, _, parameter = part.partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if weight > 0:
            wanted.append((-weight, tag.strip().lower().partition("-")[0]))
    return [code for _, code in sorted(wanted, key=lambda each: each[0])]
