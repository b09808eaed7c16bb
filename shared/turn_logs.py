"""The server's log lines of single threads and turns, for a while, where any worker can read them.

A line that was logged with `turn_id` or `thread_id` beside its message is also kept in a Redis list of that id: the
newest 200 of it, for a day. They are an attachment to what users report and nothing hangs on them: a thread of its own
writes them, a few times a second and all in one go, so that who logs does not wait; what it cannot write it drops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

import redis

from shared.log_redaction import OURS

MAX_LINES = 200  # of one id
MAX_CHARACTERS = 2000  # of a line
KEPT_SECONDS = 86_400
MAX_WAITING = 5000  # lines not written yet; more push out the oldest
WRITE_EVERY_SECONDS = 0.3
SETTLE_SECONDS = 1.0  # after which other processes have written what they logged
MAX_IDS = 2000  # that are read for one report: the newest turns of a thread


class TurnLogHandler(logging.Handler):
    """Keeps lines; `flush` writes what waits."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._client = client
        self._waiting: deque[tuple[str, str]] = deque(maxlen=MAX_WAITING)
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="turn-logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        of = getattr(record, "turn_id", None) or getattr(record, "thread_id", None)
        if of:
            self._waiting.append((str(of), self.format(record)[:MAX_CHARACTERS]))
            self._wake.set()

    def flush(self) -> None:
        """Write what waits. Errors: redis.RedisError (it is dropped)."""
        if not self._waiting:
            return
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(len(self._waiting)):
            of, line = self._waiting.popleft()
            pipeline.rpush(_key(of), line)
            pipeline.ltrim(_key(of), -MAX_LINES, -1)
            pipeline.expire(_key(of), KEPT_SECONDS)
        pipeline.execute()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(WRITE_EVERY_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except (redis.RedisError, OSError, IndexError):  # logging about it here would come back here
                continue


def install(client: redis.Redis) -> None:
    """Keep the lines of this process."""
    handler = TurnLogHandler(client)
    for name in OURS:
        logging.getLogger(name).addHandler(handler)


def read(client: redis.Redis, ids: Sequence[str]) -> list[str]:
    """What is kept of these threads and turns, oldest first. Errors: redis.RedisError."""
    pipeline = client.pipeline(transaction=False)
    for of in [*ids[:1], *ids[1:][-MAX_IDS:]]:
        pipeline.lrange(_key(of), 0, -1)
    return sorted(line.decode(errors="replace") for lines in pipeline.execute() for line in lines)


def _key(of: str) -> str:
    return f"log-lines:{of}"
