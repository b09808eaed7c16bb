"""What earlier runs of a backup have read: a file that has not changed since is not read again.

It only saves time. A file is known by its root, path, inode, size, time of modification and time of change; the last
one is the kernel's, so that a command cannot replace a file and make it look unchanged.

But a program that has mapped a file changes that time with its first write to a page only, until the kernel has written
the page to the disk. So a backup syncs before it reads files, and remembers only those that were last changed before:
each later write changes the time again. On tmpfs, which has no disk, it does not.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

NAME = "index.sqlite3"
SETTLED_NS = 60_000_000_000  # between a file's last change and the sync, for clocks with large steps or of other hosts
COMMIT_AFTER = 1000  # files

TABLE = """
CREATE TABLE IF NOT EXISTS known (
    root TEXT NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, sha256 TEXT NOT NULL, run INTEGER NOT NULL,
    PRIMARY KEY (root, path)
) WITHOUT ROWID
"""


class Index:
    """The index of one backup."""

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        try:
            self._database = self._open(path)
        except sqlite3.DatabaseError:  # a power failure has left half of it
            path.unlink()
            self._database = self._open(path)
        self._run = (self._database.execute("SELECT max(run) FROM known").fetchone()[0] or 0) + 1
        self._uncommitted = 0

    def _open(self, path: Path) -> sqlite3.Connection:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        database = sqlite3.connect(path)
        database.execute(TABLE)
        database.execute("SELECT count(*) FROM known").fetchone()
        return database

    def find(self, root: str, path: str, found: os.stat_result) -> str | None:
        """Return the SHA-256 of a file that is as it was when it was read, or None."""
        key = (root, os.fsencode(path))
        row = self._database.execute("SELECT sha256, state FROM known WHERE root = ? AND path = ?", key).fetchone()
        if row is None or row[1] != _state(found):
            return None
        sha256: str = row[0]
        self._put(key, row[1], sha256)
        return sha256

    def put(self, root: str, path: str, found: os.stat_result, sha256: str, synced_at_ns: int) -> None:
        """Remember a file that was read after the sync that began at `synced_at_ns` (Unix ns), if it is older."""
        if found.st_ctime_ns + SETTLED_NS < synced_at_ns:
            self._put((root, os.fsencode(path)), _state(found), sha256)

    def _put(self, key: tuple[str, bytes], state: str, sha256: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", (*key, state, sha256, self._run))
        self._uncommitted += 1
        if self._uncommitted >= COMMIT_AFTER:
            self.commit()

    def commit(self) -> None:
        self._database.commit()
        self._uncommitted = 0

    def forget_others(self) -> None:
        """Forget what this run has not found."""
        self._database.execute("DELETE FROM known WHERE run <> ?", (self._run,))
        self.commit()

    def close(self) -> None:
        self.commit()
        self._database.close()


def _state(found: os.stat_result) -> str:
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
