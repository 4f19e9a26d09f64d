"""Signatures over reasoning and calls that tell, when they come back, whether they still stand on what they were made for."""

import base64
import hashlib
from typing import Any, Literal

import orjson

_MARK = b"simulated:"


def sign(content: Any) -> str:
    """Return an opaque base64 signature over a JSON value."""
    return base64.b64encode(_data(content)).decode()


def verdict(signature: str, content: Any) -> Literal["ours", "foreign", "broken", "moved"]:
    """Say what a returned signature is: ours and in its place, another's (taken on trust), no base64, or ours elsewhere."""
    padded = signature.replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except ValueError:
        return "broken"
    if not data.startswith(_MARK):
        return "foreign"
    return "ours" if data == _data(content) else "moved"


def _data(content: Any) -> bytes:
    return _MARK + hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
