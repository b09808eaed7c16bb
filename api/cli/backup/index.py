"""What earlier runs of a backup have read: a file that has not changed since is not read again.

It only saves time. A file is known by its root, path, inode, size, time of modification and time of change; the last
one is the kernel's, so that a command cannot replace a file and make it look unchanged.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

NAME = "index.sqlite3"
SETTLED_NS = 2_000_000_000  # after its last change, from which on a file's times tell about another change
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

    def put(self, root: str, path: str, found: os.stat_result, sha256: str, began_at_ns: int) -> None:
        """Remember a file that was read from `began_at_ns` on (Unix ns), unless it had changed just before."""
        if time_is_told(found, began_at_ns):
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


def time_is_told(found: os.stat_result, began_at_ns: int | None = None) -> bool:
    """Return whether another change would change the times of a file, which have the steps of the kernel's clock."""
    return found.st_ctime_ns + SETTLED_NS < (time.time_ns() if began_at_ns is None else began_at_ns)


def _state(found: os.stat_result) -> str:
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
