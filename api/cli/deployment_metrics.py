"""Metrics of the whole deployment, read from the database whenever metrics are exported.

One process of a deployment measures them: the scheduler that has the lease. While another one takes the lease over,
two may, or none; so rules and dashboards take the maximum.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from shared import telemetry
from shared.clock import now_ms
from shared.event_names import TURNS_QUEUE
from shared.queue import QUEUES
from shared.telemetry.metrics import MESSAGES, STATES, WAITS, WORKER_STATES

if TYPE_CHECKING:
    from shared.store import Store

SAME_SECONDS = 1.0  # for which an answer of the database serves several metrics

T = TypeVar("T")
Sizes = Mapping[str, tuple[int, int]]  # what is counted → (how many, for how many ms the oldest has been waiting)


def observe(store: Store, turns_at_once: int, measures_now: Callable[[], bool]) -> None:
    """Add the metrics. turns_at_once: as of `store.claims.claim`; measures_now: whether this process has the lease."""

    def of(name: str, label: str, values: Callable[[], Mapping[str, int]]) -> None:
        def measure() -> list[tuple[float, Mapping[str, str]]]:
            if not measures_now():
                return []
            return [(value, {label: word} if label else {}) for word, value in values().items()]

        telemetry.observe(name, measure)

    turns = _shared(lambda: _filled(store.recovery.all_users_count_phases(), STATES))
    waiting = _shared(lambda: _filled(_waiting(store, turns_at_once), WAITS))
    messages = _shared(lambda: _filled(store.outbox.undelivered(), MESSAGES))
    workers = _shared(store.workers.all_users_list)

    def taking() -> list[tuple[list[str], int]]:
        """Return the queues and the slots of each worker that takes tasks."""
        alive = (seen.worker for seen in workers() if not seen.lost and not seen.worker.draining)
        return [(list(worker.queues), worker.slots) for worker in alive]

    of("threadhouse.turns", "state", lambda: _counts(turns()))
    of("threadhouse.turns.age_ms", "state", lambda: _ages(turns()))
    of("threadhouse.turns.waiting", "cause", lambda: _counts(waiting()))
    of("threadhouse.turns.waiting.age_ms", "cause", lambda: _ages(waiting()))
    states: Callable[[], Mapping[str, int]] = lambda: Counter(seen.state for seen in workers())  # noqa: E731
    of("threadhouse.workers", "state", lambda: {state: states().get(state, 0) for state in WORKER_STATES})
    of(
        "threadhouse.workers.serving",
        "queue",
        lambda: {queue: sum(queue in queues for queues, _ in taking()) for queue in QUEUES},
    )
    of("threadhouse.workers.slots", "", lambda: {"": sum(slots for queues, slots in taking() if TURNS_QUEUE in queues)})
    of("threadhouse.outbox", "state", lambda: _counts(messages()))
    of("threadhouse.outbox.age_ms", "", lambda: {"": messages()["pending"][1]})


def _waiting(store: Store, turns_at_once: int) -> Sizes:
    """Return cause → how many of the first 1000 queued turns wait for it, and how long the first of them."""
    sizes: dict[str, tuple[int, int]] = {}
    for turn in store.open_turns.all_users_list(turns_at_once=turns_at_once, phase="queued"):
        count, age_ms = sizes.get(turn.cause, (0, max(0, now_ms() - turn.since_ms)))
        sizes[turn.cause] = (count + 1, age_ms)
    return sizes


def _filled(found: Sizes, words: tuple[str, ...]) -> Sizes:
    """Return an entry for each word: a metric that is missing looks like a scheduler that is."""
    return {word: found.get(word, (0, 0)) for word in words}


def _counts(sizes: Sizes) -> Mapping[str, int]:
    return {word: count for word, (count, _) in sizes.items()}


def _ages(sizes: Sizes) -> Mapping[str, int]:
    return {word: age_ms for word, (_, age_ms) in sizes.items()}


def _shared(read: Callable[[], T]) -> Callable[[], T]:
    """Return a function that reads at most once in SAME_SECONDS. Errors: those of read."""
    lock = threading.Lock()
    last: tuple[float, T] | None = None

    def recent() -> T:
        nonlocal last
        with lock:
            if last is None or time.monotonic() - last[0] > SAME_SECONDS:
                last = (time.monotonic(), read())
            return last[1]

    return recent
