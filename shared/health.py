"""Whether a deployment does its work, by its database and its Redis: for `/statusz` and `threadhouse doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from shared.clock import now_ms
from shared.event_names import SCHEDULER_LEASE_KEY
from shared.queue import QUEUES
from shared.store import Store

QUEUED_MS = 60_000  # after which a turn that no worker has claimed is a problem, unless its user's limit keeps it
SKEW_MS = 2000  # between the clocks of two hosts that is a problem
MIN_FREE = 0.05  # of a disk


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. message: what is so; if it is not ok, what to do about it."""

    name: str
    ok: bool
    message: str


def check_deployment(store: Store, client: redis.Redis, *, turns_at_once: int) -> Iterator[Check]:
    """Look at workers, scheduler, waiting turns, clocks and Redis.

    Errors: those of the database, redis.RedisError
    """
    yield _check_redis(client)
    yield _check_clock(store)
    yield from _check_workers(store)
    yield _check_scheduler(client)
    yield _check_queue(store, turns_at_once)


def check_disk(folder: Path) -> Check:
    """Look at the space on the disk of a folder, or of the first folder above it that exists."""
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / usage.total:.0%} of {usage.total >> 30} GiB free at {folder}"
    if usage.free < MIN_FREE * usage.total:
        return Check("disk", False, f"{free}: remove files, or let `[retention]` remove old threads")
    return Check("disk", True, free)


def _check_redis(client: redis.Redis) -> Check:
    memory: Any = client.info("memory")
    policy, used, most = (
        memory.get("maxmemory_policy", "unknown"),
        memory.get("used_memory", 0),
        memory.get("maxmemory"),
    )
    if policy != "noeviction":
        return Check("redis memory", False, f"it may evict keys (maxmemory-policy {policy}): set noeviction")
    if most and used > 0.9 * most:
        return Check(
            "redis memory", False, f"{used >> 20} of {most >> 20} MiB used: raise maxmemory, or no event can be sent"
        )
    return Check("redis memory", True, f"{used >> 20} MiB used")


def _check_clock(store: Store) -> Check:
    skew_ms = abs(store.workers.database_now_ms() - now_ms())
    if skew_ms > SKEW_MS:
        return Check("clock", False, f"this host and the database differ by {skew_ms} ms: synchronize them (NTP)")
    return Check("clock", True, f"{skew_ms} ms from the database's")


def _check_workers(store: Store) -> Iterator[Check]:
    seen = store.workers.all_users_list()
    alive = [worker.worker for worker in seen if not worker.lost]
    served = {queue for worker in alive if not worker.draining for queue in worker.queues}
    if missing := [queue for queue in QUEUES if queue not in served]:
        command = f"`threadhouse worker --queues {','.join(missing)}`"
        yield Check("workers", False, f"no worker serves {', '.join(missing)}: start {command}")
    else:
        yield Check("workers", True, f"{len(alive)} of {len(seen)} alive, and each queue has one")
    for worker in alive:
        if worker.problem:
            yield Check("commands", False, f"no command runs on {worker.name}: {worker.problem}")


def _check_scheduler(client: redis.Redis) -> Check:
    holder = client.get(SCHEDULER_LEASE_KEY)
    if not isinstance(holder, bytes):
        return Check("scheduler", False, "none runs: start `threadhouse beat`, or nothing old is removed")
    return Check("scheduler", True, holder.decode(errors="replace"))


def _check_queue(store: Store, turns_at_once: int) -> Check:
    waiting = [
        user for user in store.open_turns.all_users_waiting(turns_at_once=turns_at_once) if user.cause != "limit"
    ]
    if not waiting:
        return Check("queue", True, "no turn waits for a worker")
    age_s = max(0, now_ms() - waiting[0].since_ms) // 1000
    message = f"{sum(user.count for user in waiting)} queued turns wait for a worker, the first for {age_s} s"
    if age_s * 1000 > QUEUED_MS:
        return Check("queue", False, f"{message}: {waiting[0].why}")
    return Check("queue", True, message)
