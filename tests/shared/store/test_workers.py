"""Worker processes, as they report themselves."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update

from shared.store import Store
from shared.store.tables import workers
from shared.store.workers import KEPT_MS, LOST_MS, Worker

ADA = Worker("ada:1:x", "ada", 1, "0.2.0", ["calls", "turns"], 32)


def test_a_worker_is_listed_as_it_last_reported_itself_until_it_stops(store: Store) -> None:
    store.workers.report(ADA)
    first = store.workers.all_users_list()[0]
    store.workers.report(replace(ADA, draining=True, problem="no bubblewrap"))
    store.workers.report(replace(ADA, name="bob:1:x", host="bob"))

    seen = store.workers.all_users_list()

    assert [worker.worker.name for worker in seen] == ["ada:1:x", "bob:1:x"]
    assert seen[0].worker == replace(ADA, draining=True, problem="no bubblewrap")
    assert seen[0].started_at_ms == first.started_at_ms
    assert seen[0].seen_at_ms >= first.seen_at_ms
    assert not seen[0].lost
    store.workers.remove("ada:1:x")
    store.workers.remove("ada:1:x")
    assert [worker.worker.name for worker in store.workers.all_users_list()] == ["bob:1:x"]


def test_a_silent_worker_is_lost_and_is_forgotten_after_a_day(store: Store) -> None:
    store.workers.report(ADA)
    silence(store, LOST_MS + 1)
    store.workers.all_users_forget()
    assert [worker.lost for worker in store.workers.all_users_list()] == [True]

    silence(store, KEPT_MS)
    store.workers.all_users_forget()
    assert store.workers.all_users_list() == []


def silence(store: Store, for_ms: int) -> None:
    """Let the last report of all workers be older by that time."""
    with store.database.write() as connection:
        connection.execute(update(workers).values(seen_at_ms=workers.c.seen_at_ms - for_ms))
