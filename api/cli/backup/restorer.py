"""Checks a backup, and restores it into an empty deployment: first the files, then the database, as a whole.

A marker in HOME names the backup, so that an interrupted restore continues, and nothing else is overwritten.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli.backup import database, files
from api.cli.backup.maker import LOCK
from api.cli.backup.manifest import FILE, FOLDER, Entry, Header, Manifest
from api.cli.backup.objects import Objects, Progress
from api.cli.backup.targets import DRAFT, Target, is_empty, owner_at
from shared.config import Config
from shared.errors import BackupError
from shared.store.migrations import is_known, migrate

MARKER = "restore.json"
FILES, DATABASE = "files", "database"  # what an interrupted restore was at


@dataclass
class Restored:
    """What was restored or checked. left_out: entries for whose root this deployment has no folder"""

    header: Header
    files: int = 0
    size: int = 0
    left_out: int = 0
    users: int = 0
    threads: int = 0


def verify(folder: Path, progress: Progress) -> Restored:
    """Read all that a backup has and compare it with its manifest. Errors: BackupError."""
    with _in_use(folder):
        manifest, objects = Manifest(folder), Objects(folder)
        checked, seen = Restored(manifest.header), set()
        objects.check(manifest.header.sha256, manifest.header.size, progress)
        for entry in manifest.entries():
            if entry.kind == FILE:
                checked.files += 1
                checked.size += entry.size
                if (entry.sha256, entry.size) not in seen:
                    objects.check(entry.sha256, entry.size, progress)
                    seen.add((entry.sha256, entry.size))
        return checked


def restore(config: Config, folder: Path, progress: Progress) -> Restored:
    """Restore a backup, or continue to. Errors: BackupError."""
    with _in_use(folder), _home(config):
        manifest, objects = Manifest(folder), Objects(folder)
        header = manifest.header
        _check_database(config, header)
        database.require_alone(config)
        marker = config.home / MARKER
        stage = _stage(marker, manifest)
        if stage is None:
            _require_empty_folders(config)
        if stage != DATABASE:
            database.require_stopped(config)
            if any(database.count(config)):
                raise BackupError("the database has users or threads: restore into an empty deployment")
        restored = Restored(header)
        if not any(database.count(config)):
            _mark(marker, manifest, FILES)
            _restore_files(config, manifest, objects, restored, progress)
            os.sync()
            _mark(marker, manifest, DATABASE)
            _restore_database(config, header, objects, progress)
        migrate(config.database_url)
        database.forget_workers(config)
        if database.kind(config) == "sqlite" and (owner := owner_at(config.home)) is not None:
            for file in config.home.glob(f"{database.sqlite_file(config).name}*"):
                os.chown(file, *owner, follow_symlinks=False)
        restored.users, restored.threads = database.count(config)
        marker.unlink()
        return restored


def _check_database(config: Config, header: Header) -> None:
    if database.kind(config) != header.database:
        raise BackupError(
            f"the backup is of {header.database}, and this deployment has {database.kind(config)}: "
            "set THREADHOUSE_DATABASE_URL to a database of that kind"
        )
    if header.schema is None or not is_known(header.schema):
        raise BackupError(
            f"the backup has the schema {header.schema} of Threadhouse {header.version}: restore it with that version"
        )
    database.require_programs(config, "pg_restore")


def _require_empty_folders(config: Config) -> None:
    for root in files.roots(config).values():
        if not is_empty(root):
            raise BackupError(f"{root} is not empty: restore into an empty deployment")


def _restore_files(
    config: Config, manifest: Manifest, objects: Objects, restored: Restored, progress: Progress
) -> None:
    folders: list[Entry] = []
    with ExitStack() as stack:
        roots = files.roots(config)
        targets: dict[str, Target] = {}
        for entry in manifest.entries():
            if entry.root not in roots:
                restored.left_out += 1
                continue
            if entry.path == DRAFT:
                raise BackupError(f"the manifest is damaged, it names {DRAFT}: use another backup")
            if entry.root not in targets:
                targets[entry.root] = stack.enter_context(closing(Target(roots[entry.root])))
            target = targets[entry.root]
            if entry.kind == FOLDER:
                target.make_folder(entry)
                folders.append(entry)
            elif entry.kind == FILE:
                _restore_file(target, entry, objects, progress)
                restored.files += 1
                restored.size += entry.size
            else:
                target.put_link(entry)
        for entry in reversed(folders):
            targets[entry.root].finish_folder(entry)


def _restore_file(target: Target, entry: Entry, objects: Objects, progress: Progress) -> None:
    if not target.has_file(entry):
        target.put_file(entry, lambda file: objects.copy_to(entry.sha256, entry.size, file, progress))


def _restore_database(config: Config, header: Header, objects: Objects, progress: Progress) -> None:
    if database.kind(config) == "postgres":
        objects.check(header.sha256, header.size, progress)
        database.restore(config, objects.path(header.sha256))
        return
    file = database.sqlite_file(config)
    draft = file.with_name(f"{file.name}.restore")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as copy:
        objects.copy_to(header.sha256, header.size, copy, progress)
        copy.flush()
        os.fsync(copy.fileno())
    database.restore(config, draft)


def _stage(marker: Path, manifest: Manifest) -> str | None:
    """Return what an interrupted restore of this backup was at; None: there was none. Errors: BackupError."""
    try:
        found = json.loads(marker.read_text())
        backup, stage = found["backup"], found["stage"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{marker} is damaged: remove all data of this deployment and this file") from None
    if backup != manifest.digest:
        raise BackupError(
            f"{marker.parent} has an unfinished restore of another backup, or of another state of this one: finish "
            f"that, or remove all data of this deployment and {marker}"
        )
    return DATABASE if stage == DATABASE else FILES


def _mark(marker: Path, manifest: Manifest, stage: str) -> None:
    draft = marker.with_suffix(".draft")
    draft.write_text(json.dumps({"backup": manifest.digest, "stage": stage}))
    os.replace(draft, marker)


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Let no other run change the backup meanwhile. Errors: BackupError."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BackupError(f"{folder}: there is no backup: name the folder of `threadhouse backup`") from None
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}: run this as the owner of the backup, or as root") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"{folder} is in use by another backup: wait for its end") from None
    finally:
        os.close(fd)


@contextmanager
def _home(config: Config) -> Iterator[None]:
    """Make the home and hold the lock of `threadhouse up`, which cannot start meanwhile. Errors: BackupError."""
    owner = owner_at(config.home)
    run = config.home / "run"
    for folder in (config.home, run):
        existed = folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if owner is not None and not existed:
            os.chown(folder, *owner, follow_symlinks=False)
    lock = run / "up.lock"
    existed = lock.exists()
    with open(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+") as file:
        if owner is not None and not existed:
            os.fchown(file.fileno(), *owner)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{config.home} is in use by `threadhouse up`: stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))  # `up` names the process that holds it
        file.flush()
        yield
