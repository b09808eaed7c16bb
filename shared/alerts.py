"""What is wrong with a deployment, kept for a week: an admin sees the problems of the day without Prometheus.

They are those of deploy/prometheus/alerts.yml that the database and Redis know, under the same names. Workers look for
them with their sweep, and so does the scheduler, which sees that no worker lives; one of them every EVERY_SECONDS.
docs/OPERATIONS.md has a heading for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import redis

from shared.clock import now_ms
from shared.event_names import ALERTS_WATCHED_KEY
from shared.health import check_deployment
from shared.store import Store
from shared.store.alerts import Alert

EVERY_SECONDS = 15
MINUTE_MS = 60_000
WINDOW_MS = 15 * MINUTE_MS  # in which turns are counted, and for which a lost lease is a problem
FAILED_SHARE, FAILED_TURNS = 0.1, 5  # more than this share of the turns, and at least so many
UNDELIVERED_MS = 15 * MINUTE_MS

LEASES_LOST = "ThreadhouseLeasesLost"
NO_REDIS = "ThreadhouseNoRedis"
NOT_WATCHED = "ThreadhouseNotWatched"


Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of alert.

    severity: critical, warning or info, as of the rules
    for_ms:   for how long it must hold before it is one
    next:     what to do
    """

    severity: Severity
    for_ms: int
    next: str


KINDS: Mapping[str, Kind] = {
    "ThreadhouseNoScheduler": Kind("critical", 2 * MINUTE_MS, "Start `threadhouse beat`."),
    "ThreadhouseNoWorkers": Kind("critical", 2 * MINUTE_MS, "Start a worker that serves the queue."),
    "ThreadhouseWorkersBroken": Kind("warning", 5 * MINUTE_MS, "Run `threadhouse doctor` on that host."),
    "ThreadhouseQueueAge": Kind("critical", 2 * MINUTE_MS, "Start more workers, or look at their logs."),
    "ThreadhouseTurnsFail": Kind("critical", 5 * MINUTE_MS, "Look at one of the turns: `threadhouse turn ID`."),
    "ThreadhouseOutboxAge": Kind("warning", 5 * MINUTE_MS, "See the tab Webhooks; is the receiver up?"),
    "ThreadhouseBudgetRejections": Kind("info", 0, "Nothing, or raise the limits of the user."),
    LEASES_LOST: Kind("warning", 0, "Look for kills for memory and for overloaded hosts."),
    NO_REDIS: Kind("critical", MINUTE_MS, "Start Redis, or correct its address."),
    "ThreadhouseRedisMemory": Kind("critical", 2 * MINUTE_MS, "Raise maxmemory, and set noeviction."),
    NOT_WATCHED: Kind("warning", 0, "Find out why no worker and no scheduler ran, or the database did not answer."),
}
_NAMES_OF_CHECKS = {  # of shared.health; clocks and disks are those of one host, and not of the deployment
    "scheduler": "ThreadhouseNoScheduler",
    "workers": "ThreadhouseNoWorkers",
    "commands": "ThreadhouseWorkersBroken",
    "queue": "ThreadhouseQueueAge",
    "redis memory": "ThreadhouseRedisMemory",
}


def watch(store: Store, client: redis.Redis, *, turns_at_once: int) -> None:
    """Look for problems and store them, unless another process has done so a moment ago.

    Errors: those of the database
    """
    with suppress(redis.RedisError):  # then Redis is the problem
        if not client.set(ALERTS_WATCHED_KEY, 1, nx=True, ex=EVERY_SECONDS):
            return
    for_ms = {name: kind.for_ms for name, kind in KINDS.items()}
    holding = dict(_find(store, client, turns_at_once))
    store.alerts.note(holding, for_ms=for_ms, stays_ms={LEASES_LOST: WINDOW_MS}, unwatched=NOT_WATCHED)


def of_day(store: Store) -> list[Alert]:
    """Return the alerts that hold now, and those of the last 24 hours, the latest first."""
    at_ms = store.workers.database_now_ms()
    found = store.alerts.all_users_list(at_ms - 24 * 60 * MINUTE_MS)
    known = [one for one in found if one.name in KINDS]  # a later release may have more
    return [one for one in known if (one.until_ms or at_ms) - one.since_ms >= KINDS[one.name].for_ms]


def _find(store: Store, client: redis.Redis, turns_at_once: int) -> Iterator[tuple[str, str]]:
    """Yield (name, message) of what is wrong now. Errors: those of the database."""
    try:
        for check in check_deployment(store, client, turns_at_once=turns_at_once):
            if not check.ok and check.name in _NAMES_OF_CHECKS:
                yield _NAMES_OF_CHECKS[check.name], check.message
    except redis.RedisError as error:
        yield NO_REDIS, f"Redis does not answer: {type(error).__name__}"
    yield from _failed_turns(store)
    waiting = store.outbox.undelivered().get("pending")
    if waiting is not None and waiting[1] > UNDELIVERED_MS:
        minutes = waiting[1] // MINUTE_MS
        yield "ThreadhouseOutboxAge", f"messages that are not delivered: {waiting[0]}, the first for {minutes} min"


def _failed_turns(store: Store) -> Iterator[tuple[str, str]]:
    at_ms = now_ms()
    ended, errors = store.open_turns.all_users_ended(at_ms - WINDOW_MS, made_since_ms=at_ms - 2 * WINDOW_MS)
    spent = sum(error is not None and error["codexErrorInfo"] == "usageLimitExceeded" for error in errors)
    if spent:
        yield "ThreadhouseBudgetRejections", f"turns that ended at a limit of tokens within 15 min: {spent}"
    if len(errors) >= FAILED_TURNS and len(errors) > FAILED_SHARE * ended:
        yield "ThreadhouseTurnsFail", f"{len(errors)} of the {ended} turns that ended within 15 min failed"
