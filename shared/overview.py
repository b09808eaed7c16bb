"""A deployment at a glance: for `threadhouse top` and `admin/overview/read`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis

from shared.clock import now_ms
from shared.config import Config
from shared.event_names import TURNS_QUEUE
from shared.queue_state import Waiting, read_queues
from shared.store import Store
from shared.store.usage import today_utc

MINUTE_MS = 60_000
MAX_RUNNING = 1000  # running turns whose cause is found out
MAX_USERS = 50


@dataclass(frozen=True, slots=True)
class Cause:
    """Open turns of one state with the same cause (see OpenTurn). since_ms: of the longest, Unix ms."""

    state: str
    cause: str
    count: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class UserLoad:
    """What one user does. turns: state → how many; tokens_today: of answers since midnight, UTC"""

    owner: str
    turns: Mapping[str, int]
    tokens_today: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A deployment at one moment.

    at_ms:             Unix ms
    workers:           state of SeenWorker → how many processes
    slots:             turns that the workers which take turns can run at once
    turns:             queued, running and parked → how many
    causes:            why turns are in their state; of running turns at most MAX_RUNNING are looked at
    new_turns:         those of the last minute
    tokens_today:      of all users
    users:             those with the most open turns and tokens first, at most MAX_USERS
    waiting:           what waits in the queues
    """

    at_ms: int
    workers: Mapping[str, int]
    slots: int
    turns: Mapping[str, int]
    causes: Sequence[Cause]
    new_turns: int
    tokens_today: int
    users: Sequence[UserLoad]
    waiting: Sequence[Waiting]


def read_overview(store: Store, client: redis.Redis, config: Config) -> Overview:
    """Return what a deployment does now. Errors: those of the database."""
    at_ms = now_ms()
    seen = store.workers.all_users_list()
    taking = [one.worker for one in seen if one.takes_tasks and TURNS_QUEUE in one.worker.queues]
    waiting = read_queues(store, client, config)
    phases, tokens = store.open_turns.all_users_by_phase(), store.usage.all_users_tokens(today_utc())
    users = [UserLoad(owner, phases.get(owner, {}), tokens.get(owner, 0)) for owner in phases.keys() | tokens.keys()]
    users.sort(key=lambda user: (-sum(user.turns.values()), -user.tokens_today, user.owner))
    return Overview(
        at_ms=at_ms,
        workers=Counter(one.state for one in seen),
        slots=sum(worker.slots for worker in taking),
        turns=sum(phases.values(), Counter()),
        causes=[*_queued(waiting), *_running_and_parked(store, config.limits.turns_at_once)],
        new_turns=store.open_turns.all_users_count_new(at_ms - MINUTE_MS),
        tokens_today=sum(tokens.values()),
        users=users[:MAX_USERS],
        waiting=waiting,
    )


def _queued(waiting: Sequence[Waiting]) -> Iterator[Cause]:
    for one in waiting:
        if one.cause is not None and one.count and one.since_ms is not None:
            yield Cause("queued", one.cause, one.count, one.since_ms)


def _running_and_parked(store: Store, turns_at_once: int) -> Iterator[Cause]:
    for state in ("running", "parked"):
        found = store.open_turns.all_users_list(turns_at_once=turns_at_once, phase=state, limit=MAX_RUNNING)
        counts = Counter(turn.cause for turn in found)
        for cause, count in counts.most_common():
            yield Cause(state, cause, count, min(turn.since_ms for turn in found if turn.cause == cause))
