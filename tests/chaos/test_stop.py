"""A worker is paused for longer than its lease, and resumes: it writes no row and publishes no event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.store.tables import items, turns
from tests.chaos.watched import (
    SCRIPT,
    TRIES,
    WatchedTurn,
    check,
    check_next,
    disconnect,
    wait_for_ends,
    watch,
)
from tests.support.deployment import PATIENT, Deployment, Process
from tests.support.wait import until

TURNS = 3
END_SECONDS = 90.0  # until another worker has run the turns, after the end of the lease
# The log lines of a worker that leaves a turn without ending it, see workers/tasks/run_turn.py.
LEFT = ("claim lost, leaving the turn", "database away, leaving the turn to its lease")


@pytest.mark.parametrize("point", ["before_begun", "mid_stream", "before_final_commit"])
def test_worker_paused_beyond_its_lease_writes_nothing_when_it_resumes(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(api=2, workers=0, server=PATIENT)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:stop@{trigger}") for _ in range(2)]

    for number in times:
        for attempt in range(TRIES):
            if pause_one_worker(deployment, workers, trigger, f"stop{number}.{attempt}"):
                break
        else:
            pytest.fail("the paused worker held the database's write lock each time")


def pause_one_worker(deployment: Deployment, workers: list[Process], trigger: Path, begin: str) -> bool:
    """Pause one of two workers while turns run, and resume it. Return False when it was paused in a transaction.

    begin: a name for the pause in which the turns wait for the trigger, so that none of them is past the point before
    """
    watched = watch(deployment, TURNS)
    left_before = count_left(workers)
    for turn in watched:
        turn.start(f"[[pause {begin}]]{SCRIPT}")
    trigger.touch()  # only now: a worker that is paused in a transaction would block turn/start
    deployment.model.release(begin)
    until(lambda: any(worker.is_paused() for worker in workers))
    assert not trigger.exists(), "no worker was paused"
    paused = next(worker for worker in workers if worker.is_paused())
    if not deployment.is_writable():
        paused.resume()
        wait_for_ends(watched, END_SECONDS)
        return False

    wait_for_ends(watched, END_SECONDS)
    taken_over = sum(claim_no(deployment, turn) - 1 for turn in watched)
    assert taken_over >= 1
    for turn in watched:
        check(turn)
    rows, events = stored_rows(deployment, watched), logged_events(deployment, watched)
    probes = [turn.probe() for turn in watched]
    other = next(worker for worker in workers if worker is not paused)
    other.kill()
    paused.resume()
    until(lambda: count_left(workers) == left_before + taken_over)
    for turn in watched:
        check_next(turn)  # by the resumed worker, whose journal has handled its earlier writes by then

    assert stored_rows(deployment, watched) == rows
    assert logged_events(deployment, watched) == events
    assert [turn.probe() for turn in watched] == probes
    deployment.start_worker(other)
    disconnect(watched)
    return True


def count_left(workers: list[Process]) -> int:
    """Return how often a worker left a turn, also because it waited for a lock of the paused worker."""
    logs = "".join(worker.log.read_text() for worker in workers)
    return sum(logs.count(text) for text in LEFT)


def claim_no(deployment: Deployment, turn: WatchedTurn) -> int:
    with deployment.store.database.read() as connection:
        return int(connection.scalar(select(turns.c.claim_no).where(turns.c.id == turn.turn_id)) or 0)


def stored_rows(deployment: Deployment, watched: list[WatchedTurn]) -> list[Any]:
    """Return every row of the turns without published_state, which also changes without a claim."""
    turn_ids = [turn.turn_id for turn in watched]
    rows: list[Any] = []
    with deployment.store.database.read() as connection:
        for table, turn_id in ((items, items.c.turn_id), (turns, turns.c.id)):
            columns = [column for column in table.c if column.name != "published_state"]
            query = select(*columns).where(turn_id.in_(turn_ids)).order_by(table.c.id)
            rows += [tuple(row) for row in connection.execute(query)]
    return rows


def logged_events(deployment: Deployment, watched: list[WatchedTurn]) -> list[Any]:
    """Return the entries of the threads' event logs that are about these turns."""
    with deployment.redis as client:
        logs: list[Any] = [(turn, client.xrange(f"th:{{{turn.thread_id}}}:log")) for turn in watched]
    return [entry for turn, entries in logs for entry in entries if turn.turn_id.encode() in entry[1][b"f"]]
