"""Work that waits in this process: each user has one piece of it under way, and users take turns."""

from __future__ import annotations

import threading
from collections import deque


class FairQueue:
    """Gives out what waits. A user who adds a lot waits longer, and nobody else does.

    at_once: how much of all users is under way at most
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[str]] = {}  # owner → ids, in the order in which the owners are served
        self._owners_served: set[str] = set()

    def put(self, owner: str, subject_id: str) -> None:
        """Add something to do."""
        with self._lock:
            self._waiting.setdefault(owner, deque()).append(subject_id)

    def take(self) -> tuple[str, str] | None:
        """Return (owner, id) of what to do now; call `done` afterwards, and this again. None: nothing may begin now."""
        with self._lock:
            if len(self._owners_served) >= self._at_once:
                return None
            owner = next((owner for owner in self._waiting if owner not in self._owners_served), None)
            if owner is None:
                return None
            ids = self._waiting.pop(owner)
            subject_id = ids.popleft()
            if ids:
                self._waiting[owner] = ids  # behind the others
            self._owners_served.add(owner)
            return owner, subject_id

    def done(self, owner: str) -> None:
        """End what the owner had under way."""
        with self._lock:
            self._owners_served.remove(owner)

    def clear(self) -> list[tuple[str, str]]:
        """Remove all that waits, and return it."""
        with self._lock:
            cleared = [(owner, subject_id) for owner, ids in self._waiting.items() for subject_id in ids]
            self._waiting.clear()
        return cleared
