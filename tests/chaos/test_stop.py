"""A worker that stands still for longer than its lease, and goes on: not one row comes from it any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from shared.store.tables import items, turns
from tests.chaos.watched import Watched, check, check_next, hang_up, wait_for_ends, watch
from tests.support.deployment import SHORT, Deployment, Process
from tests.support.wait import until

TURNS = 3
OWN_SECONDS = 10.0
LEFT = ("the claim was lost", "the turn is left to its lease")  # what a worker says of a turn that it lets go
TRIES = 5  # that a stop may meet a worker that holds SQLite's write lock, which nobody can take from it


@pytest.mark.parametrize("point", ["before_begun", "mid_stream", "before_final_commit"])
def test_a_worker_that_stood_still_writes_nothing_when_it_goes_on(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(api=2, workers=0)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:stop@{trigger}") for _ in range(2)]

    for _ in times:
        for _ in range(TRIES):
            if stop_one(deployment, workers, trigger):
                break
        else:
            pytest.fail("the stopped worker held the database's write lock each time")


def stop_one(deployment: Deployment, workers: list[Process], trigger: Path) -> bool:
    """Have one of two workers stand still while turns run, and then go on. False: it stood still in a transaction."""
    watched = watch(deployment, TURNS)
    left_before = left(workers)
    for one in watched:
        one.start()
    trigger.touch()  # not before: a worker that stands still in a transaction would keep turns from being begun
    until(lambda: any(worker.is_paused() for worker in workers))
    assert not trigger.exists(), "the stop did not fire"
    stale = next(worker for worker in workers if worker.is_paused())
    if not is_writable(deployment):
        stale.resume()
        wait_for_ends(watched, OWN_SECONDS)
        return False

    wait_for_ends(watched, SHORT["lease_seconds"] + SHORT["sweep_seconds"] + OWN_SECONDS)
    taken_over = sum(claim_no(deployment, one) - 1 for one in watched)
    assert taken_over >= 1
    for one in watched:
        check(one)
    rows, log = stored_rows(deployment, watched), told_of(deployment, watched)
    probes = [one.probe() for one in watched]
    other = next(worker for worker in workers if worker is not stale)
    other.kill()
    stale.resume()
    until(lambda: left(workers) == left_before + taken_over)
    for one in watched:
        check_next(one)  # by the worker that stood still: what it had in hand went through its journal before

    assert stored_rows(deployment, watched) == rows
    assert told_of(deployment, watched) == log
    assert [one.probe() for one in watched] == probes
    deployment.start_worker(other)
    hang_up(watched)
    return True


def left(workers: list[Process]) -> int:
    """How many attempts were given up. One that waited for a lock of the stopped worker may be among them."""
    logs = "".join(worker.log.read_text() for worker in workers)
    return sum(logs.count(text) for text in LEFT)


def is_writable(deployment: Deployment) -> bool:
    database = deployment.store.database
    if not database.is_sqlite:
        return True
    try:
        with database.read() as connection:
            connection.execute(text("PRAGMA busy_timeout = 200"))
        with database.write() as connection:
            connection.execute(text("PRAGMA busy_timeout = 20000"))
    except OperationalError:
        return False
    return True


def claim_no(deployment: Deployment, one: Watched) -> int:
    with deployment.store.database.read() as connection:
        return int(connection.scalar(select(turns.c.claim_no).where(turns.c.id == one.turn_id)) or 0)


def stored_rows(deployment: Deployment, watched: list[Watched]) -> list[Any]:
    """Every row of the turns, less what was published of them, which is no claim's business."""
    turn_ids = [one.turn_id for one in watched]
    rows: list[Any] = []
    with deployment.store.database.read() as connection:
        for table, turn_id in ((items, items.c.turn_id), (turns, turns.c.id)):
            columns = [column for column in table.c if column.name != "announced"]
            query = select(*columns).where(turn_id.in_(turn_ids)).order_by(table.c.id)
            rows += [tuple(row) for row in connection.execute(query)]
    return rows


def told_of(deployment: Deployment, watched: list[Watched]) -> list[Any]:
    """Every entry of the threads' logs that is about these turns."""
    with deployment.redis as client:
        logs: list[Any] = [(one, client.xrange(f"th:{{{one.thread_id}}}:log")) for one in watched]
    return [entry for one, entries in logs for entry in entries if one.turn_id.encode() in entry[1][b"f"]]
