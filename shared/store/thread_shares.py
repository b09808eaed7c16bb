"""Share links: whoever has the secret of one reads one thread, until it expires or its owner revokes it.

Only the SHA-256 of a secret is stored. A link ends with its thread, and while its owner is disabled it opens nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, insert, or_, select, update

from shared.clock import now_ms
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.digests import digest
from shared.store.tables import thread_shares, threads, users

SECRET_BYTES = 32
MOST_OF_A_USER = 100  # that can be opened at once


@dataclass(frozen=True, slots=True)
class ThreadShare:
    """A link that can be opened. Times in Unix ms."""

    id: str
    owner: str
    thread_id: str
    created_at_ms: int
    expires_at_ms: int


class ThreadShares:
    """The thread_shares table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, thread_id: str, owner: str, seconds: int, *, audit_entry: AuditEntry | None = None
    ) -> tuple[ThreadShare, str]:
        """Make a link to a thread of the owner, and forget expired links and the owner's revoked ones.

        Returns: it and its secret
        Errors:  NotFound (the thread); Conflict (the owner has too many links)
        """
        secret, share_id, at_ms = secrets.token_urlsafe(SECRET_BYTES), new_id(), now_ms()
        values = {
            "id": share_id,
            "owner": owner,
            "thread_id": thread_id,
            "sha256": digest(secret),
            "created_at_ms": at_ms,
            "expires_at_ms": at_ms + seconds * 1000,
        }
        of_owner = and_(threads.c.id == thread_id, threads.c.owner == owner)
        with self._database.write() as connection:
            # Locked, so that the thread is not deleted meanwhile.
            if connection.execute(select(threads.c.id).where(of_owner).with_for_update()).first() is None:
                raise NotFound(f"thread not found: {thread_id}")
            revoked = and_(thread_shares.c.owner == owner, thread_shares.c.revoked_at_ms.is_not(None))
            connection.execute(delete(thread_shares).where(or_(thread_shares.c.expires_at_ms <= at_ms, revoked)))
            count = select(func.count()).where(thread_shares.c.owner == owner, thread_shares.c.revoked_at_ms.is_(None))
            if (connection.scalar(count) or 0) >= MOST_OF_A_USER:
                raise Conflict(f"you have {MOST_OF_A_USER} share links, the most that can be open; revoke some")
            connection.execute(insert(thread_shares).values(values))
            audit.write(connection, audit_entry, thread_id=thread_id, subject_id=share_id)
        return ThreadShare(share_id, owner, thread_id, at_ms, at_ms + seconds * 1000), secret

    def find(self, secret: str) -> ThreadShare | None:
        """Return the link with that secret; None: unknown, expired or revoked, or its owner is disabled."""
        query = _VALID.where(thread_shares.c.sha256 == digest(secret), _is_valid())
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _from_row(row)

    def of_thread(self, thread_id: str, owner: str) -> list[ThreadShare]:
        """Return the links to a thread that can be opened, newest first."""
        mine = and_(thread_shares.c.thread_id == thread_id, thread_shares.c.owner == owner)
        query = _VALID.where(mine, _is_valid()).order_by(thread_shares.c.id.desc())
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def valid(self, share_ids: Collection[str]) -> set[str]:
        """Return those of the links that can be opened."""
        with self._database.read() as connection:
            found = connection.execute(_VALID.where(thread_shares.c.id.in_(share_ids), _is_valid()))
            return {row.id for row in found}

    def revoke(self, share_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Revoke a link of the owner; harmless when repeated. Errors: NotFound."""
        mine = and_(thread_shares.c.id == share_id, thread_shares.c.owner == owner)
        with self._database.write() as connection:
            row = connection.execute(select(thread_shares).where(mine).with_for_update()).first()
            if row is None:
                raise NotFound(f"no share link {share_id}")
            if row.revoked_at_ms is None:
                connection.execute(update(thread_shares).where(mine).values(revoked_at_ms=now_ms()))
                audit.write(connection, audit_entry, thread_id=row.thread_id, subject_id=share_id)


# The threads are joined because a node of an earlier version deletes a thread without its links.
_VALID = (
    select(thread_shares)
    .join(threads, and_(threads.c.id == thread_shares.c.thread_id, threads.c.owner == thread_shares.c.owner))
    .join(users, users.c.id == thread_shares.c.owner)
)


def _is_valid() -> Any:
    return and_(
        thread_shares.c.expires_at_ms > now_ms(),
        thread_shares.c.revoked_at_ms.is_(None),
        users.c.disabled_at_ms.is_(None),
    )


def _from_row(row: Any) -> ThreadShare:
    return ThreadShare(row.id, row.owner, row.thread_id, row.created_at_ms, row.expires_at_ms)
