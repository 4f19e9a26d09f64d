"""The named statements of this folder's `.sql` files."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

_NAME = re.compile(r"^-- name: (\S+)[^\n]*\n", re.MULTILINE)


def parse(text: str) -> Mapping[str, str]:
    """Split SQL text at its `-- name: x` lines. Raises `ValueError` for a name given twice."""
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError("a statement's name is given twice")
    return MappingProxyType({name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)})


def _read(*names: str) -> str:
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


_FILES: Final = ("queries", "put", "statistics", "reports", "search", "days", "threads", "answers")
QUERIES: Final = parse(_read(*(f"{name}.sql" for name in _FILES)))
