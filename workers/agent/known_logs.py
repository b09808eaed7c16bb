"""Logs of threads whose last turn ended in this process: their next turn here reads only what is new."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from shared.store.items import Item
from shared.store.turns import Claim

KEPT_BYTES = 8 << 20  # as stored, of all logs; in memory they take a few times as much
LOG_BYTES = 2 << 20  # of one log


@dataclass(frozen=True, slots=True)
class _Log:
    rows: Sequence[Item]
    claim_no: int
    size_bytes: int


class KnownLogs:
    """Keeps the logs that were used last. May be called from any thread.

    Only a claim changes rows that are there, and every claim of a thread has the next number. So if no other claim came
    between, a log is as it was but for rows that were added or removed at its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # by thread id, the one that was kept last at the end
        self._size_bytes = 0

    def keep(self, claim: Claim, rows: Sequence[Item], size_bytes: int) -> None:
        """Keep the log of a thread whose turn has ended and is stored. size_bytes: about what the rows have"""
        with self._lock:
            self._remove(claim.thread_id)
            if size_bytes > LOG_BYTES:
                return
            self._logs[claim.thread_id] = _Log(rows, claim.claim_no, size_bytes)
            self._size_bytes += size_bytes
            while self._size_bytes > KEPT_BYTES:
                self._remove(next(iter(self._logs)))

    def take(self, claim: Claim) -> Sequence[Item]:
        """Return the rows that the thread's log begins with, as of its last turn; none when they are not known."""
        with self._lock:
            log = self._remove(claim.thread_id)
        return log.rows if log is not None and log.claim_no == claim.claim_no - 1 else ()

    def _remove(self, thread_id: str) -> _Log | None:
        log = self._logs.pop(thread_id, None)
        self._size_bytes -= log.size_bytes if log is not None else 0
        return log
