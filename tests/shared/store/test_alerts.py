"""Alerts in the database: they begin, go on and end by what is said to hold."""

from __future__ import annotations

import threading

from sqlalchemy import func, select, update

from shared.store import Store
from shared.store.alert_tables import alerts
from shared.store.alerts import GAP_MS, KEPT_MS

FOR_MS = {"Slow": 60_000}
STAYS_MS = {"Once": 900_000}


def note(store: Store, **holding: str) -> None:
    store.alerts.note(holding, for_ms=FOR_MS, stays_ms=STAYS_MS, unwatched="NotWatched")


def pass_time(store: Store, ms: int, *, watched: bool = True) -> None:
    """Let everything be older by that time; watched: except that somebody has looked all the time."""
    with store.database.write() as connection:
        older = {column: alerts.c[column] - ms for column in ("since_ms", "seen_at_ms", "until_ms")}
        connection.execute(update(alerts).values(older))
        if watched:
            connection.execute(
                update(alerts)
                .where(alerts.c.until_ms.is_(None), alerts.c.name != "Once")
                .values(seen_at_ms=alerts.c.seen_at_ms + ms)
            )


def listed(store: Store) -> list[tuple[str, str, bool]]:
    """Return (name, message, whether it holds)."""
    return [(one.name, one.message, one.until_ms is None) for one in store.alerts.all_users_list(0)]


def test_a_problem_begins_goes_on_and_ends_once(store: Store) -> None:
    assert store.alerts.watched_at_ms() is None
    note(store)
    assert (listed(store), store.alerts.watched_at_ms() is None) == ([], False)

    note(store, Bad="one")
    pass_time(store, 5000)
    note(store, Bad="two")
    assert listed(store) == [("Bad", "two", True)]
    note(store)
    note(store)

    (ended,) = store.alerts.all_users_list(0)
    assert ended.until_ms is not None
    assert 5000 <= ended.until_ms - ended.since_ms < 60_000
    note(store, Bad="three")
    assert listed(store) == [("Bad", "three", True), ("Bad", "two", False)]
    assert store.alerts.all_users_list(ended.until_ms + 60_000)[0].message == "three", "what holds is always listed"


def test_a_problem_that_ends_too_soon_is_forgotten(store: Store) -> None:
    note(store, Slow="")
    note(store)
    assert listed(store) == []

    note(store, Slow="")
    pass_time(store, 60_000)
    note(store)
    assert listed(store) == [("Slow", "", False)]


def test_what_happened_once_holds_for_a_while(store: Store) -> None:
    store.alerts.add("Once", "a worker")
    note(store)
    pass_time(store, 600_000)
    store.alerts.add("Once", "another worker")
    pass_time(store, 600_000)
    note(store)
    assert listed(store) == [("Once", "another worker", True)]

    pass_time(store, 400_000)
    note(store)
    assert listed(store) == [("Once", "another worker", False)]


def test_a_time_in_which_nobody_looked_is_a_problem_of_its_own(store: Store) -> None:
    note(store, Bad="")
    pass_time(store, GAP_MS + 5000, watched=False)
    note(store, Bad="")
    note(store, Bad="")

    assert sorted(listed(store)) == [("Bad", "", True), ("NotWatched", "", False)]
    (gap,) = (one for one in store.alerts.all_users_list(0) if one.name == "NotWatched")
    assert gap.until_ms is not None
    assert GAP_MS + 5000 <= gap.until_ms - gap.since_ms < GAP_MS + 60_000


def test_what_ended_long_ago_is_removed(store: Store) -> None:
    note(store, Bad="")
    note(store)
    pass_time(store, KEPT_MS - 60_000)
    note(store)
    assert len(listed(store)) == 1

    pass_time(store, 120_000)
    note(store)
    assert listed(store) == []


def test_processes_that_look_at_once_store_a_problem_once(store: Store) -> None:
    begin = threading.Barrier(4)

    def look() -> None:
        begin.wait()
        note(store, Bad="", Slow="")

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(alerts)) == 3, "two problems, and who looked"
