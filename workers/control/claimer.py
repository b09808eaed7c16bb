"""Claims waiting turns for the threads of this process: those that ask at the same time share one transaction.

The claims of all workers wait for one lock, so that limits and fairness are exact. In a burst, taking that lock once
for each turn would cost more than everything else that a claim does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from shared.store.turns import Claim

MOST_AT_ONCE = 4  # turns of one transaction; requests wait for it


class Claimer:
    """One of those who ask claims for all who wait; then the next one of them does."""

    def __init__(self, claim: Callable[[Sequence[str], bool], list[Claim]]) -> None:
        """claim: (names, looks_first) → claims of the first of them, as Claims.claim"""
        self._claim = claim
        self._lock = threading.Lock()
        self._asking: deque[_Asking] = deque()  # the first one claims, or is about to

    def claim(self, name: str, *, looks_first: bool) -> Claim | None:
        """Claim a turn. None: no turn may run now. name, looks_first, Errors: as of Claims.claim."""
        asking = _Asking(name, looks_first)
        with self._lock:
            self._asking.append(asking)
            is_first = self._asking[0] is asking
        if not is_first:
            asking.woken.wait()
        if not asking.is_done:
            self._claim_for_all()
        if asking.error is not None:
            raise asking.error
        return asking.claim

    def _claim_for_all(self) -> None:
        """Claim for those who ask now, and wake the next one to do so."""
        with self._lock:
            served = list(self._asking)[:MOST_AT_ONCE]
        try:
            claims = self._claim([one.name for one in served], all(one.looks_first for one in served))
            for one, claim in zip(served, claims, strict=False):
                one.claim = claim
        except BaseException as error:  # noqa: BLE001 - raised again by each of them
            for one in served:
                one.error = error
        with self._lock:
            for one in served:
                self._asking.popleft()
                one.is_done = True
                one.woken.set()
            if self._asking:
                self._asking[0].woken.set()


class _Asking:
    """One thread that asks. woken: to see whether it is done, or to claim for all."""

    def __init__(self, name: str, looks_first: bool) -> None:
        self.name = name
        self.looks_first = looks_first
        self.woken = threading.Event()
        self.is_done = False
        self.claim: Claim | None = None
        self.error: BaseException | None = None
