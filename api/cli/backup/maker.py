"""Makes a backup while the server runs: first a snapshot of the database, then the files."""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from api.cli.backup import database, files
from api.cli.backup.files import Found
from api.cli.backup.index import Index
from api.cli.backup.manifest import FILE, MODES, Entry, Header, ManifestDraft
from api.cli.backup.objects import Objects, Progress
from shared.clock import now_ms
from shared.config import Config
from shared.errors import BackupError
from shared.store.migrations import schema_step

LOCK = "threadhouse-backup.lock"


@dataclass
class Made:
    """What a backup has.

    files, size:          their number and bytes; read, read_size: those that were read by this run
    changed:              files that changed while they were read
    skipped:              why something is missing → how many files or folders
    """

    files: int = 0
    size: int = 0
    read: int = 0
    read_size: int = 0
    database_size: int = 0
    changed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def make(config: Config, folder: Path, progress: Progress) -> Made:
    """Make or update the backup in a folder. Errors: BackupError."""
    roots = files.roots(config)
    real = Path(os.path.realpath(folder))
    for root in roots.values():
        if real.is_relative_to(os.path.realpath(root)):
            raise BackupError(f"{folder} is in {root}, which is backed up: name another folder")
    database.require_programs(config, "pg_dump")
    with _locked(folder), closing(Index(folder)) as index:
        maker = _Maker(Objects(folder), index, progress)
        header = _snapshot(config, folder, maker)
        maker.synced_at_ns = time.time_ns()
        os.sync()
        with closing(ManifestDraft(folder, header)) as manifest:
            for name, root in roots.items():
                for found in files.walk(root, maker.made.skipped):
                    entry = maker.entry(name, root, found)
                    if entry is not None:
                        manifest.add(entry)
            index.commit()
            manifest.finish()
        maker.objects.collect(maker.used)
        index.forget_others()
        return maker.made


def _snapshot(config: Config, folder: Path, maker: _Maker) -> Header:
    draft = folder / "database.draft"
    draft.unlink(missing_ok=True)
    at_ms = now_ms()
    step = schema_step(config.database_url)
    database.dump(config, draft)
    with draft.open("rb") as file:
        maker.made.database_size = os.fstat(file.fileno()).st_size
        sha256, size, _ = maker.objects.add(file.fileno(), maker.made.database_size, maker.progress)
    draft.unlink()
    maker.used.add(bytes.fromhex(sha256))
    return Header(database.kind(config), step, version("threadhouse"), at_ms, sha256, size)


class _Maker:
    """Puts files into a backup. used: the digests of all objects of this run; synced_at_ns: when the sync began."""

    def __init__(self, objects: Objects, index: Index, progress: Progress) -> None:
        self.objects = objects
        self.progress = progress
        self.made = Made()
        self.used: set[bytes] = set()
        self.synced_at_ns = 0
        self._index = index

    def entry(self, name: str, root: Path, found: Found) -> Entry | None:
        """Return the entry of what was found; a file's content is in the backup then. None: it is gone, or skipped."""
        mode, mtime_ns = found.stat.st_mode & MODES, found.stat.st_mtime_ns
        if found.kind != FILE:
            return Entry(name, found.path, found.kind, mode, mtime_ns, target=found.target)
        size = found.stat.st_size
        sha256 = self._index.find(name, found.path, found.stat)
        if sha256 is None or not self.objects.has(sha256, size):
            with files.opened(root, found, self.made.skipped) as fd:
                if fd is None:
                    return None
                before = os.fstat(fd)
                if files.is_sparse(before):
                    self.made.skipped[files.SPARSE] += 1
                    return None
                sha256, size, _ = self.objects.add(fd, before.st_size, self.progress)
                after = os.fstat(fd)
            if (after.st_size, after.st_ctime_ns) == (before.st_size, before.st_ctime_ns):
                self._index.put(name, found.path, before, sha256, self.synced_at_ns)
            else:
                self.made.changed += 1
            mode, mtime_ns = before.st_mode & MODES, before.st_mtime_ns
            self.made.read += 1
            self.made.read_size += size
        self.used.add(bytes.fromhex(sha256))
        self.made.files += 1
        self.made.size += size
        return Entry(name, found.path, FILE, mode, mtime_ns, size=size, sha256=sha256)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder of a backup, for its owner alone, and let no other run use it. Errors: BackupError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = folder / LOCK
        if not lock.exists() and any(folder.iterdir()):
            raise BackupError(f"{folder} has something else than a backup in it: name an empty folder")
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.chmod(folder, 0o700)
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}: name a folder of your own") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "objects").mkdir(mode=0o700, exist_ok=True)
        yield
    except BlockingIOError:
        raise BackupError(f"{folder} is in use by another backup or restore: wait for its end") from None
    finally:
        os.close(fd)
