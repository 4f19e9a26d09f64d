"""JSON in and out, with text that PostgreSQL and UTF-8 can hold.

NUL and lone surrogates are legal in JSON escapes but not in a PostgreSQL `text`: both become U+FFFD here, on decoding, so
that the client, the log and the provider all see the same string.
"""

import json
import math
import re
from typing import Any, TypeGuard

import orjson

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """Return `text` with NUL and lone surrogates replaced by U+FFFD."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def clean_value(value: Any) -> Any:
    """Return a JSON value with every string in it, keys included, cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_value(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_value(item) for key, item in value.items()}
    return value


def loads(data: bytes | str) -> Any:
    """Decode JSON; raise `ValueError` on anything that is no JSON, too deep or not UTF-8."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _loads_leniently(data)
    # `in` would look for bytes only behind an exception.
    place = data.find(b"\\u0000") if isinstance(data, bytes) else data.find("\\u0000")
    return value if place < 0 else _cleaned(value)


def _loads_leniently(data: bytes | str) -> Any:
    """orjson refuses lone surrogates; the standard library reads them."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return clean_value(json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _cleaned(value: Any) -> Any:
    try:
        return clean_value(value)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def fits(value: Any) -> bool:
    """Whether a decoded value can be encoded again inside a reply, a request or a row (depth, size of numbers)."""
    try:
        orjson.dumps([[[[[[[[value]]]]]]]])
    except TypeError:
        return False
    return True


def _integer(digits: str) -> int | float:
    """Integers beyond 64 bits become floats, as orjson reads them; it could not write them again."""
    value = int(digits) if len(digits) < 30 else _float(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def dumps(value: Any) -> bytes:
    """Encode a JSON value (or a dataclass) as UTF-8."""
    return orjson.dumps(value)


def dumps_to_keep(value: Any) -> bytes:
    """The same for what is kept for a while: orjson leaves 4 KB of room to each of its results."""
    return bytes(memoryview(orjson.dumps(value)))


def dumps_text(value: Any) -> str:
    """Encode a JSON value as a string."""
    return orjson.dumps(value).decode()


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a decoded JSON value is an object."""
    return isinstance(value, dict)
