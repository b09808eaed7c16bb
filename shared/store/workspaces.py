"""Workspaces that are made from something: pending → placing → ready, or failed until the next turn tries again.

Whoever makes one works in a folder of its own beside it and is known by that folder's name; of several the first one
counts, and one that gives no sign of life is replaced. `placing`: what is in the folder is whole, and is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from shared.clock import now_ms
from shared.errors import NotFound
from shared.store.connection import Database
from shared.store.tables import users, workspaces
from shared.store.users import LOCAL_USER

PENDING, PLACING, READY, FAILED = "pending", "placing", "ready", "failed"
ABANDONED_MS = 6_000  # after the last sign of life; six missed ones


@dataclass(frozen=True, slots=True)
class Workspace:
    """source: see shared.workspaces; the rest as in shared.store.tables."""

    thread_id: str
    owner: str
    source: dict[str, Any]
    state: str = PENDING
    reason: str | None = None
    maker: str | None = None
    start_tree: str | None = None
    base: str | None = None


_COLUMNS = list(Workspace.__dataclass_fields__)


class Workspaces:
    """The workspaces table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, thread_id: str, owner: str) -> Workspace | None:
        """None: the thread began with nothing, or is not the owner's."""
        with self._database.read() as connection:
            return _find(connection, thread_id, owner)

    def take(self, thread_id: str, owner: str, maker: str) -> Workspace | None:
        """Begin to make it: the row as it was found. None: somebody else makes it; look again soon.

        One that is ready is left alone. One that is being placed keeps its maker's name: go on with that folder.
        Errors: NotFound
        """
        with self._database.write() as connection:
            found = _find(connection, thread_id, owner, lock=True)
            if found is None:
                raise NotFound(f"thread not found: {thread_id}")
            if found.state == READY:
                return found
            of_thread = workspaces.c.thread_id == thread_id
            now = self._database.now_ms()
            if found.maker is not None:
                since = select(now - workspaces.c.alive_at_ms).where(of_thread)
                if (connection.scalar(since) or 0) < ABANDONED_MS:
                    return None
            values: dict[str, Any] = {"alive_at_ms": now}
            if found.state != PLACING:
                values |= {"maker": maker, "state": PENDING, "reason": None}
            connection.execute(update(workspaces).where(of_thread).values(values))
        return found

    def keep(self, thread_id: str, maker: str) -> bool:
        """A sign of life; whether it still is this maker's."""
        return self._change(thread_id, maker, alive_at_ms=self._database.now_ms())

    def place(self, thread_id: str, maker: str, start_tree: str, base: str | None) -> bool:
        """All of it is made; whether this maker may move it to its place."""
        return self._change(thread_id, maker, state=PLACING, start_tree=start_tree, base=base)

    def finish(self, thread_id: str, maker: str) -> None:
        """It is in its place."""
        self._change(thread_id, maker, state=READY, maker=None)

    def fail(self, thread_id: str, maker: str, reason: str) -> None:
        """It cannot be made, now at least."""
        self._change(thread_id, maker, state=FAILED, reason=reason, maker=None)

    def leave(self, thread_id: str, maker: str) -> None:
        """Somebody else may go on at once."""
        self._change(thread_id, maker, maker=None)

    def user_name(self, owner: str) -> str:
        """What the operator calls a user; the local one has no row."""
        with self._database.read() as connection:
            name: str | None = connection.scalar(select(users.c.name).where(users.c.id == owner))
        return name or LOCAL_USER

    def _change(self, thread_id: str, by: str, /, **values: Any) -> bool:
        changed = update(workspaces).where(workspaces.c.thread_id == thread_id, workspaces.c.maker == by)
        with self._database.write() as connection:
            return connection.execute(changed.values(values)).rowcount == 1


def add(connection: Connection, thread_id: str, owner: str, source: dict[str, Any]) -> None:
    """Store what a new thread's workspace is to be made from."""
    values = {"thread_id": thread_id, "owner": owner, "source": source, "state": PENDING, "created_at_ms": now_ms()}
    connection.execute(insert(workspaces).values(values))


def _find(connection: Connection, thread_id: str, owner: str, *, lock: bool = False) -> Workspace | None:
    query = select(workspaces).where(workspaces.c.thread_id == thread_id, workspaces.c.owner == owner)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else Workspace(**{name: row._mapping[name] for name in _COLUMNS})
