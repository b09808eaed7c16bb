"""Uploaded archives, stored in chunks until a workspace is made from them, so that any worker can read them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import delete, func, insert, select, update

from shared.clock import now_ms
from shared.errors import NotFound, Overloaded
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.tables import archive_chunks, archives

CHUNK_BYTES = 1 << 20
KEPT_MS = 24 * 3600 * 1000
MAX_WAITING = 8  # archives of one owner that no workspace was made from yet


class Archives:
    """The archives and archive_chunks tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str) -> str:
        """Begin an upload and return its id. Errors: Overloaded (too many archives of the owner are waiting)."""
        archive_id = new_id()
        with self._database.write() as connection:
            waiting = select(func.count()).select_from(archives).where(archives.c.owner == owner)
            if (connection.scalar(waiting) or 0) >= MAX_WAITING:
                raise Overloaded(f"{MAX_WAITING} of your archives are not used yet; start their threads first", 60_000)
            values = {"id": archive_id, "owner": owner, "size_bytes": 0, "complete": False, "created_at_ms": now_ms()}
            connection.execute(insert(archives).values(values))
        return archive_id

    def append(self, archive_id: str, owner: str, number: int, data: bytes) -> None:
        """Store the next chunk, at most CHUNK_BYTES. Errors: NotFound (the upload has expired)."""
        grown = update(archives).where(archives.c.id == archive_id, archives.c.owner == owner, ~archives.c.complete)
        with self._database.write() as connection:
            if connection.execute(grown.values(size_bytes=archives.c.size_bytes + len(data))).rowcount != 1:
                raise NotFound(f"no archive {archive_id[:80]}")
            values = {"archive_id": archive_id, "number": number, "data": data}
            connection.execute(insert(archive_chunks).values(values))

    def finish(self, archive_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> int:
        """Mark an upload as complete and return its size in bytes. Errors: NotFound."""
        of_owner = (archives.c.id == archive_id, archives.c.owner == owner)
        with self._database.write() as connection:
            if connection.execute(update(archives).where(*of_owner).values(complete=True)).rowcount != 1:
                raise NotFound(f"no archive {archive_id[:80]}")
            audit.write(connection, audit_entry, subject_id=archive_id)
            return connection.scalar(select(archives.c.size_bytes).where(*of_owner)) or 0

    def check(self, archive_id: str, owner: str) -> None:
        """Check that the owner has a complete archive. Errors: NotFound (also incomplete or expired)."""
        query = select(archives.c.id).where(archives.c.id == archive_id, archives.c.owner == owner, archives.c.complete)
        with self._database.read() as connection:
            if connection.scalar(query) is None:
                raise NotFound(f"no archive {archive_id[:80]}; upload it again, it is kept for a day")

    def read(self, archive_id: str, owner: str) -> Iterator[bytes]:
        """Yield the chunks in order, each read in a transaction of its own. Errors: NotFound."""
        self.check(archive_id, owner)
        number = 0
        while True:
            query = select(archive_chunks.c.data).where(
                archive_chunks.c.archive_id == archive_id, archive_chunks.c.number == number
            )
            with self._database.read() as connection:
                data: bytes | None = connection.scalar(query)
            if data is None:
                return
            yield data
            number += 1

    def delete(self, archive_id: str, owner: str) -> None:
        """Delete an archive; harmless when it does not exist."""
        gone = delete(archives).where(archives.c.id == archive_id, archives.c.owner == owner)
        with self._database.write() as connection:
            if connection.execute(gone).rowcount == 1:
                connection.execute(delete(archive_chunks).where(archive_chunks.c.archive_id == archive_id))

    def all_users_expire(self) -> int:
        """Delete archives that no workspace was made from within KEPT_MS, at most 100. Returns how many."""
        old = select(archives.c.id).where(archives.c.created_at_ms < now_ms() - KEPT_MS)
        with self._database.write() as connection:
            ids = list(connection.scalars(old.limit(100)))
            connection.execute(delete(archive_chunks).where(archive_chunks.c.archive_id.in_(ids)))
            connection.execute(delete(archives).where(archives.c.id.in_(ids)))
        return len(ids)
