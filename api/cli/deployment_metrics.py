"""Metrics of the whole deployment, read from the database whenever metrics are exported.

One process of a deployment measures them: the scheduler that has the lease. While another one takes the lease over,
two may, or none; so rules and dashboards take the maximum.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import telemetry
from shared.clock import now_ms
from shared.event_names import TURNS_QUEUE
from shared.queue import QUEUES
from shared.telemetry.metrics import MESSAGES, STATES, WAITS, WORKER_STATES

if TYPE_CHECKING:
    from shared.store import Store
    from shared.store.workers import SeenWorker

READ_SECONDS = 3.0  # for which the database is waited for; OpenTelemetry gives up a page after 10
FAILED_SECONDS = 10.0  # after a failure, for which it is not asked again
SAME_SECONDS = 1.0  # for which an answer of the database serves several metrics

logger = logging.getLogger(__name__)
Sizes = Mapping[str, tuple[int, int]]  # what is counted → (how many, for how many ms the oldest has been waiting)


def observe(store: Store, turns_at_once: int, measures_now: Callable[[], bool]) -> None:
    """Add the metrics. turns_at_once: as of `store.claims.claim`; measures_now: whether this process has the lease."""

    def read() -> _Deployment:
        return _Deployment(
            turns=_filled(store.recovery.all_users_count_phases(), STATES),
            waiting=_filled(_waiting(store, turns_at_once), WAITS),
            messages=_filled(store.outbox.undelivered(), MESSAGES),
            workers=store.workers.all_users_list(),
        )

    deployment = _Shared(read)

    def of(name: str, label: str, values: Callable[[_Deployment], Mapping[str, int]]) -> None:
        def measure() -> list[tuple[float, Mapping[str, str]]]:
            found = deployment.find() if measures_now() else None
            if found is None:
                return []
            return [(value, {label: word} if label else {}) for word, value in values(found).items()]

        telemetry.observe(name, measure)

    of("threadhouse.turns", "state", lambda found: _counts(found.turns))
    of("threadhouse.turns.age_ms", "state", lambda found: _ages(found.turns))
    of("threadhouse.turns.waiting", "cause", lambda found: _counts(found.waiting))
    of("threadhouse.turns.waiting.age_ms", "cause", lambda found: _ages(found.waiting))
    of("threadhouse.workers", "state", lambda found: found.worker_states())
    of("threadhouse.workers.serving", "queue", lambda found: found.serving())
    of("threadhouse.workers.slots", "", lambda found: {"": found.slots()})
    of("threadhouse.outbox", "state", lambda found: _counts(found.messages))
    of("threadhouse.outbox.age_ms", "", lambda found: {"": found.messages["pending"][1]})


@dataclass(frozen=True, slots=True)
class _Deployment:
    """What the database knows."""

    turns: Sizes
    waiting: Sizes
    messages: Sizes
    workers: Sequence[SeenWorker]

    def worker_states(self) -> Mapping[str, int]:
        found = Counter(seen.state for seen in self.workers)
        return {state: found[state] for state in WORKER_STATES}

    def serving(self) -> Mapping[str, int]:
        """Return queue → how many workers take its tasks."""
        return {queue: sum(queue in queues for queues, _ in self._taking()) for queue in QUEUES}

    def slots(self) -> int:
        """Return how many turns the workers that take turns can run at once."""
        return sum(slots for queues, slots in self._taking() if TURNS_QUEUE in queues)

    def _taking(self) -> list[tuple[Sequence[str], int]]:
        """Return the queues and the slots of each worker that takes tasks."""
        alive = (seen.worker for seen in self.workers if not seen.lost and not seen.worker.draining)
        return [(worker.queues, worker.slots) for worker in alive]


def _waiting(store: Store, turns_at_once: int) -> Sizes:
    """Return cause → how many queued turns wait for it, and how long the first of them."""
    sizes: dict[str, tuple[int, int]] = {}
    for user in store.open_turns.all_users_waiting(turns_at_once=turns_at_once):  # the longest first
        count, age_ms = sizes.get(user.cause, (0, max(0, now_ms() - user.since_ms)))
        sizes[user.cause] = (count + user.count, age_ms)
    return sizes


def _filled(found: Sizes, words: tuple[str, ...]) -> Sizes:
    """Return an entry for each word: a metric that is missing looks like a scheduler that is."""
    return {word: found.get(word, (0, 0)) for word in words}


def _counts(sizes: Sizes) -> Mapping[str, int]:
    return {word: count for word, (count, _) in sizes.items()}


def _ages(sizes: Sizes) -> Mapping[str, int]:
    return {word: age_ms for word, (_, age_ms) in sizes.items()}


class _Shared:
    """What is read serves all metrics of a page: a page waits for the database once, for READ_SECONDS at most."""

    def __init__(self, read: Callable[[], _Deployment]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._asked: Future[_Deployment] | None = None  # one that has no answer yet is not asked again
        self._found: _Deployment | None = None
        self._ask_at = 0.0  # monotonic seconds

    def find(self) -> _Deployment | None:
        """Return what was read within SAME_SECONDS. None: the last read failed, FAILED_SECONDS ago at most."""
        with self._lock:
            if time.monotonic() >= self._ask_at:
                try:
                    self._found = self._ask()
                except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the page is served
                    first_line = str(error).partition("\n")[0]
                    logger.warning("deployment not measured: %s: %s", type(error).__name__, first_line)
                    self._found = None
                self._ask_at = time.monotonic() + (FAILED_SECONDS if self._found is None else SAME_SECONDS)
            return self._found

    def _ask(self) -> _Deployment:
        """Read. Errors: TimeoutError, or those of read."""
        if self._asked is None or self._asked.done():
            self._asked = Future()
            threading.Thread(target=self._answer, args=(self._asked,), name="deployment", daemon=True).start()
        if not wait([self._asked], READ_SECONDS).done:
            raise TimeoutError(f"the database has not answered within {READ_SECONDS:g} s")
        return self._asked.result()

    def _answer(self, asked: Future[_Deployment]) -> None:
        try:
            asked.set_result(self._read())
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            asked.set_exception(error)
