"""Workspaces that are made from a source: pending → placing → ready, or failed until the next turn tries again.

The worker that makes a workspace (its maker) works in a folder beside it and is known by that folder's name. One maker
has the claim at a time; a maker that stops sending heartbeats is replaced. `placing`: the content of the folder is
complete and is being moved to the workspace's path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from shared.clock import now_ms
from shared.errors import NotFound
from shared.store.connection import Database
from shared.store.tables import users, workspaces
from shared.store.users import LOCAL_USER

PENDING, PLACING, READY, FAILED = "pending", "placing", "ready", "failed"
ABANDONED_MS = 6_000  # after the last heartbeat; six missed ones


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace.

    source:     what it is made from (shared.config.workspaces)
    reason:     why it failed
    maker:      name of the folder in which a worker makes it; None: no worker does
    start_tree: git's id of all files as they were at the start
    base:       the commit that was checked out then, if it is a repository
    """

    thread_id: str
    owner: str
    source: Mapping[str, Any]
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
        """Return the thread's workspace; None: it is not made from a source, or the thread is not the owner's."""
        with self._database.read() as connection:
            return _find(connection, thread_id, owner)

    def claim(self, thread_id: str, owner: str, maker: str) -> Workspace | None:
        """Claim the right to make a workspace. Returns the row as it was before; None: another worker makes it.

        A workspace that is ready is returned and not claimed. One that is being placed keeps its maker's name: the new
        claimant continues with that folder.

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
            if found.maker not in (None, maker):
                since = select(now - workspaces.c.alive_at_ms).where(of_thread)
                if (connection.scalar(since) or 0) < ABANDONED_MS:
                    return None
            values: dict[str, Any] = {"alive_at_ms": now}
            if found.state != PLACING:
                values |= {"maker": maker, "state": PENDING, "reason": None}
            connection.execute(update(workspaces).where(of_thread).values(values))
        return found

    def renew(self, thread_id: str, maker: str) -> bool:
        """Renew the maker's claim. Returns whether the workspace is still this maker's."""
        return self._change(thread_id, maker, alive_at_ms=self._database.now_ms())

    def mark_placing(self, thread_id: str, maker: str, start_tree: str, base: str | None) -> bool:
        """Mark the content as complete. Returns whether this maker may move it to the workspace's path."""
        return self._change(thread_id, maker, state=PLACING, start_tree=start_tree, base=base)

    def finish(self, thread_id: str, maker: str) -> None:
        """Mark the workspace as ready: it is at its path."""
        self._change(thread_id, maker, state=READY, maker=None)

    def fail(self, thread_id: str, maker: str, reason: str) -> None:
        """Mark the workspace as failed; the next turn tries again."""
        self._change(thread_id, maker, state=FAILED, reason=reason, maker=None)

    def release(self, thread_id: str, maker: str) -> None:
        """Give the claim back: another worker may go on at once."""
        self._change(thread_id, maker, maker=None)

    def user_name(self, owner: str) -> str:
        """Return the name of a user; the local user has no row."""
        with self._database.read() as connection:
            name: str | None = connection.scalar(select(users.c.name).where(users.c.id == owner))
        return name or LOCAL_USER

    def _change(self, thread_id: str, by: str, /, **values: Any) -> bool:
        changed = update(workspaces).where(workspaces.c.thread_id == thread_id, workspaces.c.maker == by)
        with self._database.write() as connection:
            return connection.execute(changed.values(values)).rowcount == 1


def add(connection: Connection, thread_id: str, owner: str, source: Mapping[str, Any]) -> None:
    """Store what a new thread's workspace is to be made from."""
    values = {"thread_id": thread_id, "owner": owner, "source": source, "state": PENDING, "created_at_ms": now_ms()}
    connection.execute(insert(workspaces).values(values))


def _find(connection: Connection, thread_id: str, owner: str, *, lock: bool = False) -> Workspace | None:
    query = select(workspaces).where(workspaces.c.thread_id == thread_id, workspaces.c.owner == owner)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else Workspace(**{name: row._mapping[name] for name in _COLUMNS})
