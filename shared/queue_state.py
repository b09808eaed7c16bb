"""What waits in each queue, and why it does not move: for `threadhouse queue` and `admin/queue/read`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from shared.clock import now_ms, span
from shared.config import Config
from shared.event_names import TURNS_QUEUE
from shared.queue import BACKGROUND, OWN_QUEUES, PROCESS_FEEDBACK, QUEUES, RUN_CALL
from shared.store import Store
from shared.store.backlogs import Backlog

OVERDUE_MS = 60_000  # after which work that is due is late; the sweep enqueues it again within seconds


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work of one kind that waits in one queue.

    workers:  processes that take from the queue
    tasks:    in the queue in Redis; a worker needs no task to find work that is stored. None: Redis does not answer
    kind:     "turns", "worker calls", "feedback reports", "messages", "session files" or "erasures"
    cause:    of turns: why they wait, as of OpenTurn
    count:    how much waits; None: Redis does not answer
    since_ms: when the oldest was added, in Unix ms; None: nothing waits, or that is not known
    why:      what it waits for and what to do about it; None: nothing waits, or it moves
    """

    queue: str
    workers: int
    tasks: int | None
    kind: str
    cause: str | None
    count: int | None
    since_ms: int | None
    why: str | None


def read_queues(store: Store, client: redis.Redis, config: Config) -> list[Waiting]:
    """Return what waits in each queue; a queue in which nothing waits has an entry too.

    Errors: those of the database
    """
    taking = [seen.worker.queues for seen in store.workers.all_users_list() if seen.takes_tasks]
    workers = {queue: sum(queue in queues for queues in taking) for queue in QUEUES}
    tasks: dict[str, int | None] = dict.fromkeys(QUEUES)
    with suppress(redis.RedisError):
        for queue in QUEUES:
            length: Any = client.llen(queue)
            tasks[queue] = length

    def entry(
        queue: str, kind: str, count: int | None, since_ms: int | None, why: str | None, cause: str | None = None
    ) -> Waiting:
        if count and not workers[queue] and not cause:
            why = f"no worker takes from this queue: start `threadhouse worker --queues {queue}`"
        return Waiting(queue, workers[queue], tasks[queue], kind, cause, count, since_ms, why)

    calls, of_feedback = OWN_QUEUES[RUN_CALL], OWN_QUEUES[PROCESS_FEEDBACK]
    found = [entry(TURNS_QUEUE, "turns", *one) for one in _turns(store, config.limits.turns_at_once)]
    found.append(entry(calls, "worker calls", tasks[calls], None, None))
    backlogs = [(of_feedback, store.backlogs.all_users_feedback()), (BACKGROUND, store.backlogs.all_users_messages())]
    if config.server.sessions_dir is not None:  # without one, nobody writes them
        backlogs.append((BACKGROUND, store.backlogs.all_users_sessions()))
    backlogs.append((BACKGROUND, store.backlogs.all_users_erasures()))
    return found + [entry(queue, one.kind, one.count, one.since_ms, _why_late(one)) for queue, one in backlogs]


def _turns(store: Store, turns_at_once: int) -> Iterator[tuple[int, int | None, str | None, str | None]]:
    """Yield (how many queued turns, since when the first waits, why it waits, its cause) of each cause."""
    waiting = store.open_turns.all_users_waiting(turns_at_once=turns_at_once)  # the longest first
    if not waiting:
        yield 0, None, None, None
    for cause in dict.fromkeys(user.cause for user in waiting):
        users = [user for user in waiting if user.cause == cause]
        yield sum(user.count for user in users), users[0].since_ms, users[0].why, cause


def _why_late(backlog: Backlog) -> str | None:
    if backlog.due_ms is None:
        return None
    late_ms = now_ms() - backlog.due_ms
    if late_ms > OVERDUE_MS:
        return f"the first is due for {span(late_ms)}: the workers are busy, or see their logs"
    return f"the first is tried again in {span(-late_ms)}" if late_ms < -1000 else None
