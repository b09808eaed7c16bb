"""The worker processes, as they report themselves.

A row says nothing about the right to do something: claims and leases do. It is for operators. It goes when its process
stops; the row of a process that was lost stays for a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from shared.store.connection import Database
from shared.store.tables import workers

LOST_MS = 20_000  # of silence after which a process counts as lost; it reports every few seconds
KEPT_MS = 86_400_000  # for which the row of a lost process stays


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process.

    name:     of this process alone, and of no later one
    version:  of Threadhouse
    queues:   names of the queues that it takes tasks from
    slots:    how many tasks it runs at once
    draining: whether it takes no more turns, because it stops
    problem:  why it cannot run commands; None: it can
    """

    name: str
    host: str
    pid: int
    version: str
    queues: Sequence[str]
    slots: int
    draining: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker process as the database knows it. Times are Unix ms of the database's clock.

    silent_ms: for how long it has not reported
    """

    worker: Worker
    started_at_ms: int
    seen_at_ms: int
    silent_ms: int

    @property
    def lost(self) -> bool:
        return self.silent_ms > LOST_MS

    @property
    def takes_tasks(self) -> bool:
        return not self.lost and not self.worker.draining

    @property
    def state(self) -> str:
        """What operators read: lost, draining, broken (commands cannot run there) or ready."""
        if self.lost:
            return "lost"
        if self.worker.draining:
            return "draining"
        return "broken" if self.worker.problem else "ready"


class Workers:
    """The workers table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        now = database.now_ms()
        values = {name: bindparam(name, type_=workers.c[name].type) for name in Worker.__dataclass_fields__}
        self._report = update(workers).where(workers.c.name == bindparam("of")).values(**values, seen_at_ms=now)
        self._first_report = insert(workers).values(**values, started_at_ms=now, seen_at_ms=now)

    def report(self, worker: Worker) -> None:
        """Store that the process lives, and what it is like now."""
        values = {name: getattr(worker, name) for name in Worker.__dataclass_fields__}
        with self._database.write() as connection:
            if not connection.execute(self._report, {**values, "of": worker.name}).rowcount:
                connection.execute(self._first_report, values)

    def remove(self, name: str) -> None:
        """Forget a process that stops. Harmless when repeated."""
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def all_users_list(self) -> list[SeenWorker]:
        """Return all worker processes, oldest first."""
        with self._database.read() as connection:
            return read_workers(connection, self._database)

    def database_now_ms(self) -> int:
        """Return the time of the database's clock, in Unix ms."""
        with self._database.read() as connection:
            return int(connection.scalar(select(self._database.now_ms())) or 0)

    def all_users_forget(self) -> None:
        """Remove the rows of processes that were lost long ago."""
        old = workers.c.seen_at_ms < self._database.now_ms() - KEPT_MS
        with self._database.write() as connection:
            connection.execute(delete(workers).where(old))


def read_workers(connection: Connection, database: Database) -> list[SeenWorker]:
    """Return all worker processes, oldest first."""
    silent = (database.now_ms() - workers.c.seen_at_ms).label("silent_ms")
    query = select(workers, silent).order_by(workers.c.started_at_ms, workers.c.name)
    return [_from_row(row._mapping) for row in connection.execute(query)]


def _from_row(row: Mapping[Any, Any]) -> SeenWorker:
    worker = Worker(**{name: row[name] for name in Worker.__dataclass_fields__})
    return SeenWorker(worker, row["started_at_ms"], row["seen_at_ms"], row["silent_ms"])
