"""Ids: UUIDv7 (RFC 9562, section 5.7) for turns, so that they sort by time and tell their age; random ones for calls."""

import os
import time
import uuid
from typing import Final

# Of a random hexadecimal digit, the one whose upper two bits name the variant.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_turn_id() -> str:
    """Return a UUIDv7 as text."""
    moment, digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10).hex()
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
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def new_call_id() -> str:
    """Return an id for a tool call whose provider gave none (or gave one twice)."""
    return f"call_{os.urandom(12).hex()}"
