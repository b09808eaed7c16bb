"""What a running turn must hear now: stored first, then announced here to all worker processes.

Lost announcements only cost latency: a turn looks into the store at each step, and its journal at each renewal.
"""

from __future__ import annotations

import redis

CHANNEL = "mailbox"
STEER = b"steer"
INTERRUPT = b"interrupt"


def announce(client: redis.Redis, what: bytes, turn_id: str) -> None:
    """Tell whichever worker holds the turn. Errors: redis.RedisError."""
    client.publish(CHANNEL, what + b" " + turn_id.encode())


def parse(payload: bytes) -> tuple[bytes, str]:
    """What an announcement says: (what, turn id)."""
    what, _, turn_id = payload.partition(b" ")
    return what, turn_id.decode()
