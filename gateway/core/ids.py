"""Ids: UUIDv7 (RFC 9562, section 5.7) for turns, so that they sort by time and tell their age; random ones for calls."""

import os
import time
import uuid
from typing import Final

_ready: list[str] = []
"""Random hexadecimal digits, 32 together: a turn needs three times some, and asking the system is dear."""
_AT_ONCE: Final = 256

# Of a random hexadecimal digit, the one whose upper two bits name the variant.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def random_digits() -> str:
    """Return 32 hexadecimal digits of the system's randomness, never given before."""
    if not _ready:
        digits = os.urandom(16 * _AT_ONCE).hex()
        _ready.extend(digits[start : start + 32] for start in range(0, len(digits), 32))
    return _ready.pop()


# A process forked from this one would give the same again.
os.register_at_fork(after_in_child=_ready.clear)


def new_turn_id() -> str:
    """Return a UUIDv7 as text."""
    moment, digits = f"{time.time_ns() // 1_000_000:012x}", random_digits()
    return f"{moment[:8]}-{moment[8:]}-7{digits[:3]}-{_VARIANT[digits[3]]}{digits[4:7]}-{digits[7:19]}"


def turn_time(turn_id: str) -> float | None:
    """Return when a turn id was made (Unix seconds), or None when it is no UUIDv7 in its canonical form."""
    try:
        parsed = uuid.UUID(turn_id)
    except ValueError:
        return None
    if parsed.version != 7 or str(parsed) != turn_id:
        return None
    return (parsed.int >> 80) / 1000


def new_conversation_id() -> str:
    """Return a random UUID as text."""
    digits = random_digits()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def new_call_id() -> str:
    """Return an id for a tool call whose provider gave none (or gave one twice)."""
    return f"call_{random_digits()[:24]}"
