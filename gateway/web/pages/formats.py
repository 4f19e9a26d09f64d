"""Values as people read them. Digits stay European in both languages, as in the log."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from gateway.core.jsontext import dumps_text, loads

NONE: Final = "–"
_SAFE_LINK: Final = re.compile(r"https?://", re.IGNORECASE)


def number(value: float | None) -> str:
    """A count with its thousands apart; a dash for an unknown one."""
    return NONE if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """A count in four characters or so: 950, 12.3k, 4.5M."""
    if value is None:
        return NONE
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.1f}".removesuffix(".0") + unit
    return f"{value:,.0f}"


def usd(value: float | None) -> str:
    """An amount of dollars: two digits behind the point, more where it would be lost."""
    if value is None:
        return NONE
    if value == 0 or value >= 1:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= 0.001 else f"${value:.7f}".rstrip("0")


def duration(ms: float | None) -> str:
    """Milliseconds as 850 ms, 1.25 s or 2 min 5 s."""
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def moment(value: str | float | datetime | None) -> Markup:
    """A UTC time, given as ISO 8601, Unix milliseconds or itself."""
    if value is None or value == "":
        return escape(NONE)
    if isinstance(value, (int, float)):
        value = datetime.fromtimestamp(value / 1000, UTC)
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    stamp = found.astimezone(UTC)
    return Markup('<time dir="ltr" datetime="{}">{}</time>').format(
        stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"), f"{stamp:%Y-%m-%d %H:%M:%S}"
    )


def pretty(text: str | None) -> str:
    """JSON text, indented; any other text as it stands."""
    if text is None:
        return ""
    try:
        return _indented(loads(text))
    except ValueError:
        return text


def is_link(address: str | None) -> bool:
    """Whether an address that a model gave may be followed."""
    return bool(address and _SAFE_LINK.match(address))


def _indented(value: Any, depth: int = 0) -> str:
    inner = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        lines = [f"{inner}{dumps_text(name)}: {_indented(each, depth + 1)}" for name, each in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value:
        lines = [inner + _indented(each, depth + 1) for each in value]
        return "[\n" + ",\n".join(lines) + "\n" + "  " * depth + "]"
    return value if isinstance(value, str) and depth == 0 else dumps_text(value)
