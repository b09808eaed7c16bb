"""Ids: UUIDv7 (RFC 9562, 5.7), sortable by the time they were made."""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> str:
    """A fresh UUIDv7 in canonical text form.

    The 12 bits behind the milliseconds count the fraction (RFC 9562, 6.2, method 3), so that ids which one process
    makes one after another are in that order.
    """
    unix_ms, fraction_ns = divmod(time.time_ns(), 1_000_000)
    fraction = fraction_ns * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return str(uuid.UUID(int=(unix_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | random))


def is_id(text: str) -> bool:
    """Whether text is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
