"""Ids: UUIDv7 (RFC 9562, section 5.7) for turns, so that they sort by time and tell their age; random ones for calls."""

import os
import time
import uuid


def new_turn_id() -> str:
    """Return a UUIDv7 as text."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return _dashed(f"{value & ~(0x3 << 62) | 0x2 << 62:032x}")


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
    return _dashed(f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:]}")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_call_id() -> str:
    """Return an id for a tool call whose provider gave none (or gave one twice)."""
    return f"call_{os.urandom(12).hex()}"
