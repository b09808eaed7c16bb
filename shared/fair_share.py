"""A limited amount of something in one process, of which each user may hold as much as is still free."""

from __future__ import annotations

import threading
from collections import Counter


class FairShare:
    """Counts who holds how much. One user can hold half of it, two users a third each: there is always some left.

    total: in any unit
    """

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._free = total
        self._held: Counter[str] = Counter()

    def take(self, owner: str, amount: int) -> bool:
        """Hold an amount more. Return False, and hold no more, when the owner would have more than is then free."""
        with self._lock:
            if self._held[owner] + amount > self._free - amount:
                return False
            self._held[owner] += amount
            self._free -= amount
            return True

    def give_back(self, owner: str, amount: int) -> None:
        """Hold an amount less."""
        with self._lock:
            self._free += amount
            self._held[owner] -= amount
            if not self._held[owner]:
                del self._held[owner]
