"""Web origins (RFC 6454) whose pages may call from a browser."""

import re
from collections.abc import Sequence
from typing import Final

ANY: Final = "*"
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def parse_origins(values: Sequence[str]) -> tuple[str, ...]:
    """Read `CORS_ORIGINS`: origins as browsers send them, or `*`. Raises `ValueError`."""
    return tuple(dict.fromkeys(ANY if value == ANY else _origin(value) for value in values))


class Origins:
    """Tells whose pages may call."""

    def __init__(self, origins: Sequence[str]) -> None:
        """`origins` are those that `parse_origins` gave."""
        self._known = frozenset(origins)
        self.anyone = ANY in self._known

    def __bool__(self) -> bool:
        return bool(self._known)

    def allows(self, origin: str | None) -> bool:
        """Whether a page of this origin may call."""
        return origin is not None and (self.anyone or origin in self._known)


def _origin(value: str) -> str:
    found = _ORIGIN.fullmatch(value.lower().removesuffix("/"))
    if found is None:
        raise ValueError("takes web origins such as https://app.example.com, comma-separated, or *")
    port = found["port"]
    behind = "" if port is None or port == _DEFAULT_PORTS.get(found["scheme"]) else f":{port}"
    return f"{found['scheme']}://{found['host']}{behind}"
