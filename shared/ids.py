"""Ids: UUIDv7 (RFC 9562, 5.7), which sort by the time when they were made."""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> str:
    """Return a new UUIDv7 in canonical text form.

    The 12 bits after the milliseconds count fractions of a millisecond (RFC 9562, 6.2, method 3), so that ids of one
    process sort in the order in which they were made.
    """
    unix_ms, fraction_ns = divmod(time.time_ns(), 1_000_000)
    fraction = fraction_ns * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return str(uuid.UUID(int=(unix_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | random))


def first_id(at_ms: int) -> str:
    """Return the least id that is made from a time on, in Unix ms."""
    return str(uuid.UUID(int=(at_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | 0x2 << 62))


def is_id(text: str) -> bool:
    """Return whether text is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
