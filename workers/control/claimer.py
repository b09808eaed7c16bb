"""Claims waiting turns for the threads of this process: those that ask at the same time share one transaction.

The claims of all workers wait for one lock, so that limits and fairness are exact. In a burst, taking that lock once
for each turn would cost more than everything else that a claim does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shared.store.outages import is_outage
from shared.store.turns import Claim

MOST_AT_ONCE = 4  # turns of one transaction; requests wait for it


class Answer(NamedTuple):
    """What one who asks for a turn gets.

    claim:        None: no turn may run now, or the database was away before anything was asked of it
    requested_at: monotonic seconds just before the claim was requested, so that no lease of it is older
    error:        why it is unknown whether there is a claim; None: it is known
    """

    claim: Claim | None
    requested_at: float
    error: BaseException | None = None


class Claimer:
    """One of those who ask claims for all who wait; then the next one of them does."""

    def __init__(self, claim: Callable[[Sequence[str], bool], list[Claim]]) -> None:
        """claim: (names, looks_first) → claims of the first of them, as Claims.claim"""
        self._claim = claim
        self._lock = threading.Lock()
        self._asking: deque[_Asking] = deque()  # the first one claims, or is about to

    def claim(self, name: str, *, looks_first: bool) -> Answer:
        """Claim a turn. name, looks_first, and the errors in the answer: as of Claims.claim."""
        asking = _Asking(name, looks_first)
        with self._lock:
            self._asking.append(asking)
            is_first = self._asking[0] is asking
        if not is_first:
            asking.woken.wait()
        if asking.answer is None:
            asking.answer = self._claim_for_all()
        return asking.answer

    def _claim_for_all(self) -> Answer:
        """Claim for those who ask now, and wake the next one to do so. Return the answer of the first, the caller."""
        with self._lock:
            served = list(self._asking)[:MOST_AT_ONCE]
        claims: list[Claim] = []
        error: BaseException | None = None
        requested_at = time.monotonic()
        try:
            claims = self._claim([one.name for one in served], all(one.looks_first for one in served))
        except BaseException as raised:  # noqa: BLE001 - each of them gets it
            error = raised
        with self._lock:
            for number, one in enumerate(served):
                claim = claims[number] if number < len(claims) else None
                self._answer_first(one, Answer(claim, requested_at, error))
            if error is not None and is_outage(error):  # or each group would wait for the same outage, one by one
                for one in list(self._asking):
                    self._answer_first(one, Answer(None, requested_at))
            if self._asking:
                self._asking[0].woken.set()
        first = served[0].answer
        assert first is not None
        return first

    def _answer_first(self, asking: _Asking, answer: Answer) -> None:
        self._asking.popleft()
        asking.answer = answer
        asking.woken.set()


class _Asking:
    """One thread that asks. woken: to see whether there is an answer, or to claim for all."""

    def __init__(self, name: str, looks_first: bool) -> None:
        self.name = name
        self.looks_first = looks_first
        self.woken = threading.Event()
        self.answer: Answer | None = None
