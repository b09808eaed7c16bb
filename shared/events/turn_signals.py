"""Signals to a running turn: the API stores a steer or an interrupt first, then publishes a signal to all workers.

Background terminals get their stop in the same way. A lost signal costs latency only: a turn reads the store at each
step, its journal does at each renewal, and so do the background terminals.
"""

from __future__ import annotations

import redis

from shared.event_names import TURN_SIGNALS_CHANNEL

STEER = b"steer"
INTERRUPT = b"interrupt"
REQUEUED = b"requeued"  # the turn was taken from its worker
STOP_TERMINAL = b"stop-terminal"
RELOAD_MCP = b"reload-mcp"


def publish(client: redis.Redis, signal: bytes, subject_id: str) -> None:
    """Signal the worker that runs a turn or a background terminal, whichever it is. Errors: redis.RedisError.

    subject_id: of the turn; with STOP_TERMINAL the id of the command's item; with RELOAD_MCP that of the user
    """
    client.publish(TURN_SIGNALS_CHANNEL, signal + b" " + subject_id.encode())


def parse(payload: bytes) -> tuple[bytes, str]:
    """Return (signal, subject id) of a message from TURN_SIGNALS_CHANNEL."""
    signal, _, subject_id = payload.partition(b" ")
    return signal, subject_id.decode()
