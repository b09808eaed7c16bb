"""Recent log lines of each thread and turn, kept in Redis where every worker can read them.

A line that is logged with a `turn_id` or `thread_id` is also added to a Redis list of that id, which keeps the newest
200 lines for a day. They are attached to feedback reports and nothing depends on them: a background thread writes them
in batches, so that logging never waits, and drops what it cannot write.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Sequence

import redis

from shared.logs.fields import FieldFormatter
from shared.logs.log_redaction import OURS

MAX_LINES = 200  # of one id
MAX_CHARACTERS = 2000  # of a line
KEPT_SECONDS = 86_400
MAX_WAITING = 5000  # lines that are not written yet; more replace the oldest
WRITE_EVERY_SECONDS = 0.3
SETTLE_SECONDS = 1.0  # after which other processes have written their lines
MAX_IDS = 2000  # ids that are read for one report: the newest turns of a thread

_FAILED_CALL = re.compile(r"model call failed, retrying: (\w+)")


class TurnLogHandler(logging.Handler):
    """Collects the lines of this process; a background thread writes them with `flush`."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._client = client
        self._waiting: deque[tuple[str, str]] = deque(maxlen=MAX_WAITING)
        self._writing = threading.Lock()  # so that lines keep their order whoever flushes
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="turn-logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        record_id = getattr(record, "turn_id", None) or getattr(record, "thread_id", None)
        if record_id:
            self._waiting.append((str(record_id), self.format(record)[:MAX_CHARACTERS]))
            self._wake.set()

    def flush(self) -> None:
        """Write the collected lines, and wait for another thread that does. Errors: redis.RedisError (dropped)."""
        with self._writing:
            lines: dict[str, list[str]] = {}
            for _ in range(len(self._waiting)):
                record_id, line = self._waiting.popleft()
                lines.setdefault(_key(record_id), []).append(line)
            pipeline = self._client.pipeline(transaction=False)
            for key, new in lines.items():
                pipeline.rpush(key, *new[-MAX_LINES:])
                pipeline.expire(key, KEPT_SECONDS)
            lengths = pipeline.execute()[::2] if lines else []
            for key, length in zip(lines, lengths, strict=True):
                if length > MAX_LINES:
                    pipeline.ltrim(key, -MAX_LINES, -1)
            pipeline.execute()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(WRITE_EVERY_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except (redis.RedisError, OSError):  # a log line about it would be added here again
                continue


def install(client: redis.Redis) -> None:
    """Add a handler that keeps the lines of this process."""
    handler = TurnLogHandler(client)
    for name in OURS:
        logging.getLogger(name).addHandler(handler)


def read(client: redis.Redis, ids: Sequence[str]) -> list[str]:
    """Return the kept lines of a thread and its turns, oldest first. Errors: redis.RedisError.

    ids: the thread's id, then those of its turns
    """
    pipeline = client.pipeline(transaction=False)
    for record_id in [*ids[:1], *ids[1:][-MAX_IDS:]]:
        pipeline.lrange(_key(record_id), 0, -1)
    return sorted(line.decode(errors="replace") for lines in pipeline.execute() for line in lines)


def _key(record_id: str) -> str:
    return f"log-lines:{record_id}"


def failed_call(lines: Sequence[str]) -> str:
    """Return the kind of error with which a turn's last model call failed; "" if it did not, by the turn's lines."""
    for line in reversed(lines):
        if found := _FAILED_CALL.search(line):
            return found[1]
        if "model answered" in line:
            break
    return ""
