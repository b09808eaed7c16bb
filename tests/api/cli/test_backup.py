"""threadhouse backup and restore, without a running server; tests/chaos/test_restore.py has one."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete

from api.cli import commands
from api.cli.backup import database, files, index, maker, restorer
from api.cli.backup.files import Found, walk
from api.cli.backup.manifest import FILE, FOLDER, LINK, NAME, Entry, Manifest, ManifestDraft
from shared import config as configuration
from shared.config import Config
from shared.errors import BackupError
from shared.store import Store
from shared.store.tables import users
from shared.store.workers import Worker
from tests.builders import make_config, make_thread
from tests.support import postgres
from tests.support.deployment import DATABASES

SECRET = "sk-only-in-the-configuration"
OLD_NS = 1_600_000_000_000_000_000
WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["turns"], 2)


class Interrupted(Exception):
    """What a progress raises in place of a signal."""


def quiet(_size: int) -> None:
    """Show no progress."""


def interrupt_after(count: int) -> Callable[[int], None]:
    """Return a progress that raises Interrupted when it is called for the time after this many."""
    calls = iter([None] * count)

    def progress(_size: int) -> None:
        try:
            next(calls)
        except StopIteration:
            raise Interrupted from None

    return progress


class Place:
    """A deployment without processes. home: its folder, below that of the test."""

    def __init__(self, home: Path, database_url: str | None = None) -> None:
        self.home = home
        self.workspaces = home / "workspaces"
        self.environ = {"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": database_url}

    @property
    def config(self) -> Config:
        return configuration.load(None, {name: value for name, value in self.environ.items() if value})

    def run(self, *words: str) -> Result:
        return CliRunner(env={**self.environ, "THREADHOUSE_REDIS_URL": None}).invoke(commands, words)

    def fill(self) -> Place:
        """Add a user, a thread and its workspace."""
        assert self.run("users", "add", "ada").exit_code == 0
        store = Store(self.config.database_url)
        thread = make_thread(store, make_config(self.home), store.users.get("ada").id)
        store.close()
        folder = self.workspaces / thread.owner / thread.id
        (folder / "src").mkdir(parents=True)
        (folder / "note").write_text("old\n")
        (folder / "src" / "run.sh").write_text("#!/bin/sh\n")
        (folder / "src" / "run.sh").chmod(0o755)
        (self.home / "config.toml").write_text(f'developer_instructions = "{SECRET}"\n')
        return self

    @property
    def note(self) -> Path:
        return next(self.workspaces.glob("*/*/note"))

    def tree(self) -> dict[str, tuple[object, ...]]:
        """Return path → kind and mode, content and time of all in the workspaces."""
        return {
            str(path.relative_to(self.workspaces)): (
                path.lstat().st_mode,
                path.lstat().st_mtime_ns,
                os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            )
            for path in self.workspaces.rglob("*")
        }


@pytest.fixture
def old(tmp_path: Path) -> Place:
    return Place(tmp_path / "old").fill()


@pytest.fixture
def new(tmp_path: Path) -> Place:
    return Place(tmp_path / "new")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the times of a file tell about its next change at once, as if its last one was long ago."""
    monkeypatch.setattr(index, "SETTLED_NS", -(1 << 62))


@pytest.fixture(params=DATABASES)
def places(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Place, Place]]:
    """A deployment to back up and an empty one."""
    if request.param == "sqlite":
        yield Place(tmp_path / "old").fill(), Place(tmp_path / "new")
        return
    monkeypatch.setenv("PATH", f"{postgres.binaries()}:{os.environ['PATH']}")
    urls = postgres.create_database(), postgres.create_empty_database()
    yield Place(tmp_path / "old", urls[0]).fill(), Place(tmp_path / "new", urls[1])
    for url in urls:
        postgres.drop_database(url)


def rewrite(folder: Path, *entries: Entry, **header: Any) -> None:
    """Give a backup a manifest with these entries, or its own, and with other values of its header."""
    manifest = Manifest(folder)
    written = entries or tuple(manifest.entries())
    draft = ManifestDraft(folder, replace(manifest.header, **header))
    for entry in written:
        draft.add(entry)
    draft.finish()


def objects(folder: Path) -> set[Path]:
    return set((folder / "objects").glob("*/*"))


# -- what comes back


def test_a_restore_brings_back_database_files_modes_times_and_links(places: tuple[Place, Place], folder: Path) -> None:
    old, new = places
    inner = old.note.parent / "src"
    (inner / "out").symlink_to("/etc/passwd")
    (inner / os.fsdecode(b"not-utf8-\xff\n")).write_text("named")
    (inner / "large").write_bytes(os.urandom(1 << 20) + bytes(3 << 20) + b"end")
    for path in [*old.workspaces.rglob("*")]:
        os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    inner.chmod(0o555)

    assert (made := old.run("backup", str(folder))).exit_code == 0, made.output
    assert "4 files" in old.run("restore", str(folder), "--verify").output
    assert (restored := new.run("restore", str(folder))).exit_code == 0, restored.output

    assert new.tree() == old.tree()
    assert "1 users and 1 threads" in restored.output
    assert "doctor" in restored.output
    assert new.run("users", "list", "--json").output == old.run("users", "list", "--json").output
    assert not (new.home / restorer.MARKER).exists()
    assert new.run("restore", str(folder)).exit_code == 1


def test_session_files_and_feedback_are_restored_where_this_deployment_has_them(
    old: Place, new: Place, folder: Path
) -> None:
    for name in ("sessions/2026/01/01/a.jsonl", "archived_sessions/b.jsonl", "feedback/c.json"):
        (old.home / name).parent.mkdir(parents=True)
        (old.home / name).write_text(name)
    new.home.mkdir()
    (new.home / "config.toml").write_text('[feedback]\ndirectory = "reports"\n')

    assert old.run("backup", str(folder)).exit_code == 0
    assert new.run("restore", str(folder)).exit_code == 0

    found = ("sessions/2026/01/01/a.jsonl", "archived_sessions/b.jsonl", "reports/c.json")
    assert all((new.home / name).is_file() for name in found)


def test_a_backup_is_for_its_owner_alone_and_has_no_configuration(old: Place, folder: Path) -> None:
    folder.mkdir(mode=0o755)

    assert old.run("backup", str(folder)).exit_code == 0

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(path.stat().st_mode & 0o077 for path in found)
    assert not any(SECRET.encode() in path.read_bytes() for path in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_root_gives_what_is_restored_to_the_owner_of_the_folder(old: Place, new: Place, folder: Path) -> None:
    new.home.mkdir()
    new.workspaces.mkdir()
    os.chown(new.home, 4321, 4321)
    os.chown(new.workspaces, 5432, 5432)

    assert old.run("backup", str(folder)).exit_code == 0
    assert new.run("restore", str(folder)).exit_code == 0

    assert {path.lstat().st_uid for path in new.workspaces.rglob("*")} == {5432}
    assert (new.home / "threadhouse.sqlite3").stat().st_uid == 4321
    assert {path.stat().st_uid for path in (new.home / "run", new.home / "run" / "up.lock")} == {4321}


def test_a_restored_server_knows_no_worker_of_the_old_one(old: Place, new: Place, folder: Path) -> None:
    store = Store(old.config.database_url)
    store.workers.report(WORKER)
    store.close()

    assert old.run("backup", str(folder)).exit_code == 0
    assert new.run("restore", str(folder)).exit_code == 0

    assert new.run("workers", "--json").output == ""


# -- a second and an interrupted backup


@pytest.mark.usefixtures("settled")
def test_a_second_backup_reads_only_what_has_changed_and_forgets_what_is_gone(old: Place, folder: Path) -> None:
    assert maker.make(old.config, folder, quiet).read == 2
    before = old.note.stat()
    same = old.note.with_name("same")
    same.write_text("new\n")
    os.utime(same, ns=(before.st_mtime_ns, before.st_mtime_ns))
    os.replace(same, old.note)  # of the same size and time

    made = maker.make(old.config, folder, quiet)

    assert (made.files, made.read) == (2, 1)
    (old.note.parent / "src" / "run.sh").unlink()
    assert (maker.make(old.config, folder, quiet).files, len(objects(folder))) == (1, 2)


def test_a_file_that_changed_a_moment_before_it_was_read_is_read_again(
    old: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 1 << 62)

    maker.make(old.config, folder, quiet)

    assert maker.make(old.config, folder, quiet).read == 2


def test_a_backup_syncs_before_it_reads_files_and_remembers_none_that_changed_after_the_sync_began(
    old: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0  # Unix ns: before any change of a file, until the sync is over

    def sync() -> None:
        nonlocal now
        now = 1 << 62
        old.note.write_text("written by the sync\n")

    with monkeypatch.context() as patched:
        patched.setattr("time.time_ns", lambda: now)
        patched.setattr(os, "sync", sync)
        maker.make(old.config, folder, quiet)

    assert b"written by the sync\n" in [path.read_bytes() for path in objects(folder)]
    assert maker.make(old.config, folder, quiet).read == 2


@pytest.mark.parametrize(("seconds", "is_known"), [(59, False), (61, True)])
def test_a_file_is_known_a_minute_after_its_last_change(tmp_path: Path, seconds: int, is_known: bool) -> None:
    found = tmp_path.stat()
    known = index.Index(tmp_path)

    known.put("workspaces", "note", found, "a" * 64, found.st_ctime_ns + seconds * 1_000_000_000)

    assert (known.find("workspaces", "note", found) is not None) == is_known
    known.close()


def test_a_foreign_name_among_the_objects_is_left_alone(old: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    inner = next(iter(objects(folder))).parent
    foreign = folder / "objects" / ".nfs01", inner / ".nfs02", inner / "readme"
    unused = inner / ("a" * 62)
    for path in (*foreign, unused):
        path.touch()

    maker.make(old.config, folder, quiet)

    assert all(path.exists() for path in foreign)
    assert not unused.exists()


@pytest.mark.usefixtures("settled")
def test_an_interrupted_backup_is_refused_and_continued(old: Place, new: Place, folder: Path) -> None:
    with pytest.raises(Interrupted):
        maker.make(old.config, folder, interrupt_after(2))  # the database and a file; the next one is cut

    refused = new.run("restore", str(folder))
    assert refused.exit_code == 1
    assert "no finished backup" in str(refused.exception)
    assert not new.workspaces.exists()

    made = maker.make(old.config, folder, quiet)
    assert (made.files, made.read) == (2, 1)
    assert new.run("restore", str(folder)).exit_code == 0
    assert new.tree() == old.tree()


@pytest.mark.usefixtures("settled")
def test_a_finished_backup_stays_as_it_is_while_the_next_one_is_made(old: Place, new: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    old.note.write_text("newer\n")
    with pytest.raises(Interrupted):
        maker.make(old.config, folder, interrupt_after(1))

    assert new.run("restore", str(folder)).exit_code == 0

    assert new.note.read_text() == "old\n"


def test_a_damaged_index_is_made_anew(old: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    (folder / index.NAME).write_bytes(b"no database" * 1000)

    assert maker.make(old.config, folder, quiet).read == 2


# -- hostile workspaces


def test_links_are_not_followed_and_special_files_are_counted(
    old: Place, new: Place, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text(SECRET)
    inner = old.note.parent
    (inner / "folder").symlink_to(outside)
    (inner / "file").symlink_to(outside / "key")
    (inner / "loop").symlink_to("loop")
    os.mkfifo(inner / "pipe")
    near = os.open(inner, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{near}/socket")  # the path of a socket must be short
    os.close(near)

    made = old.run("backup", str(folder))

    assert made.exit_code == 0
    assert "pipes, sockets and devices: 2" in made.output
    assert not any(SECRET.encode() in path.read_bytes() for path in objects(folder))
    assert new.run("restore", str(folder)).exit_code == 0
    names = ("file", "folder", "loop")
    assert [os.readlink(new.note.with_name(name)) for name in names] == [os.readlink(inner / name) for name in names]
    assert not (new.note.parent / "pipe").exists()


def test_large_files_that_are_almost_all_holes_are_left_out_and_counted(old: Place, folder: Path) -> None:
    for number in range(3):
        with old.note.with_name(f"sparse{number}").open("wb") as file:
            file.truncate(4 << 30)

    made = old.run("backup", str(folder))

    assert made.exit_code == 0
    assert "left out: sparse files: 3" in made.output
    assert restorer.verify(folder, quiet).files == 2


@pytest.mark.parametrize(
    ("size", "occupied", "is_sparse"),
    [
        (256 << 20, 0, False),
        ((256 << 20) + 1, 0, True),
        (512 << 20, 32 << 20, False),
        ((512 << 20) + 1, 32 << 20, True),
    ],
)
def test_a_file_is_sparse_when_it_is_large_and_occupies_less_than_a_sixteenth(
    size: int, occupied: int, is_sparse: bool
) -> None:
    found = os.stat_result([0] * 6 + [size] + [0] * 3, {"st_blocks": occupied // 512})

    assert files.is_sparse(found) == is_sparse


def test_what_replaced_a_file_since_it_was_found_is_not_opened(tmp_path: Path) -> None:
    for name in ("link", "pipe", "gone", "stays"):
        (tmp_path / name).write_text(name)
    skipped: Counter[str] = Counter()
    read = {}

    for found in walk(tmp_path, skipped):
        if found.name == "gone":
            (tmp_path / "gone").unlink()
        elif found.name != "stays":
            (tmp_path / found.name).unlink()
            if found.name == "pipe":
                os.mkfifo(tmp_path / "pipe")
            else:
                (tmp_path / "link").symlink_to(__file__)
        with files.opened(tmp_path, found, skipped) as fd:
            read[found.name] = fd is not None

    assert read == {"gone": False, "link": False, "pipe": False, "stays": True}


def test_a_folder_that_became_a_link_since_it_was_found_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    for inner in (outside, root / "a"):
        inner.mkdir(parents=True)
        (inner / "key").touch()
    stat_of = os.stat

    def swap(name: Any, **options: Any) -> os.stat_result:
        found = stat_of(name, **options)
        if name == "a" and (root / "a").is_dir() and not (root / "a").is_symlink():
            (root / "a").rename(root / "moved")
            (root / "a").symlink_to(outside)
        return found

    monkeypatch.setattr(os, "stat", swap)
    found = [each.path for each in walk(root, Counter())]
    monkeypatch.undo()

    assert found == []


def test_folders_that_are_nested_too_deeply_are_counted(old: Place, folder: Path) -> None:
    fd = os.open(old.note.parent, os.O_RDONLY)
    for _ in range(files.MAX_DEPTH + 50):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)

    made = maker.make(old.config, folder, quiet)

    assert made.skipped == {files.TOO_DEEP: 1}
    assert restorer.verify(folder, quiet).files == 2


@pytest.mark.parametrize("is_owner", [True, False])
def test_a_closed_file_is_left_out_only_when_its_owner_closed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_owner: bool
) -> None:
    (tmp_path / "closed").touch()
    (found,) = walk(tmp_path, Counter())
    skipped: Counter[str] = Counter()
    uid = found.stat.st_uid if is_owner else found.stat.st_uid + 1

    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if is_owner:
        with files.opened(tmp_path, found, skipped) as fd:
            assert fd is None
        assert skipped == {files.UNREADABLE: 1}
    else:
        with pytest.raises(BackupError, match=f"id {found.stat.st_uid}"), files.opened(tmp_path, found, skipped):
            pass


def test_a_file_that_grows_while_it_is_read_is_cut_and_read_again(old: Place, folder: Path) -> None:
    note = old.note

    def grow(_size: int) -> None:
        with note.open("a") as file:
            file.write("more\n")

    made = maker.make(old.config, folder, grow)

    assert made.changed >= 1
    assert restorer.verify(folder, quiet).files == 2
    assert maker.make(old.config, folder, quiet).read >= 1


# -- damaged and hostile backups


def test_verify_and_restore_find_a_damaged_file_and_a_new_backup_heals_it(old: Place, new: Place, folder: Path) -> None:
    assert old.run("backup", str(folder)).exit_code == 0
    (damaged,) = (path for path in objects(folder) if path.read_bytes() == b"old\n")
    damaged.write_bytes(b"bad\n")

    for words in (["restore", str(folder), "--verify"], ["restore", str(folder)]):
        refused = new.run(*words)
        assert isinstance(refused.exception, BackupError)
        assert f"{damaged} is damaged" in str(refused.exception)
    assert not (new.home / "threadhouse.sqlite3").exists()

    damaged.unlink()
    assert old.run("backup", str(folder)).exit_code == 0
    assert old.run("restore", str(folder), "--verify").exit_code == 0


@pytest.mark.parametrize("what", ["flipped", "cut", "longer", "missing", "a link"])
def test_a_damaged_manifest_is_refused(old: Place, new: Place, folder: Path, tmp_path: Path, what: str) -> None:
    assert old.run("backup", str(folder)).exit_code == 0
    manifest = folder / NAME
    data = manifest.read_bytes()
    changed = {"flipped": data.replace(b'"mode": 4', b'"mode": 5', 1), "cut": data[: data.rindex(b"{")]}
    manifest.unlink()
    if what == "a link":
        (tmp_path / "copy").write_bytes(data)
        manifest.symlink_to(tmp_path / "copy")
    elif what != "missing":
        manifest.write_bytes(changed.get(what, data + data))

    assert isinstance(new.run("restore", str(folder)).exception, BackupError)
    assert not new.workspaces.exists()


FILE_ENTRY = Entry("workspaces", "u/t/note", FILE, 0o644, OLD_NS, 4, "a" * 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../note"},
        {"path": "/etc/note"},
        {"path": "u/../../note"},
        {"path": "u/./note"},
        {"path": "u//note"},
        {"path": "u/note/"},
        {"path": "u/no\0te"},
        {"path": "n" * 256},
        {"path": "\ud800"},
        {"path": 7},
        {"root": "home"},
        {"root": "../home"},
        {"kind": "device"},
        {"mode": 0o4755},
        {"mode": -1},
        {"mode": "0644"},
        {"mtime_ns": 1 << 64},
        {"mtime_ns": 1.5},
        {"size": -4},
        {"size": True},
        {"sha256": "../../../../etc/passwd"},
        {"sha256": "A" * 64},
        {"kind": LINK, "target": ""},
        {"kind": LINK, "target": "a\0b"},
        {"kind": LINK, "target": ["a"]},
    ],
    ids=str,
)
def test_an_entry_that_leads_elsewhere_or_has_an_invalid_value_is_refused(
    old: Place, new: Place, folder: Path, changes: dict[str, Any]
) -> None:
    maker.make(old.config, folder, quiet)
    rewrite(folder, replace(FILE_ENTRY, **changes))

    with pytest.raises(BackupError, match="damaged"):
        restorer.restore(new.config, folder, quiet)
    assert not new.workspaces.exists()


@pytest.mark.parametrize("line", [b"7\n", b"null\n", b"{\n", b'{"x": 1}\n', b'{"root": "workspaces"}\n', b"\xff\n"])
def test_a_line_that_is_no_entry_is_refused(old: Place, folder: Path, line: bytes) -> None:
    maker.make(old.config, folder, quiet)
    draft = ManifestDraft(folder, Manifest(folder).header)
    draft._digest.update(line)
    draft._file.write(line)
    draft.finish()

    with pytest.raises(BackupError, match="damaged"):
        restorer.verify(folder, quiet)


@pytest.mark.parametrize(
    "header", [{"format": 2}, {"database": "oracle"}, {"sha256": "x"}, {"at_ms": "x"}, {"schema": 1}]
)
def test_a_header_with_an_invalid_value_is_refused(old: Place, folder: Path, header: dict[str, Any]) -> None:
    maker.make(old.config, folder, quiet)
    rewrite(folder, **header)

    with pytest.raises(BackupError):
        restorer.verify(folder, quiet)


def test_entries_below_a_link_or_with_one_name_write_nothing_elsewhere(
    old: Place, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    maker.make(old.config, folder, quiet)
    (file,) = (entry for entry in Manifest(folder).entries() if entry.path.endswith("/note"))
    link = Entry("workspaces", "x", LINK, 0o777, OLD_NS, target=str(outside))
    inner = Entry("workspaces", "x", FOLDER, 0o755, OLD_NS)
    cases = (
        (link, replace(file, path="x/note")),
        (link, inner),
        (inner, link),
        (inner, replace(file, path="x")),
        (replace(file, path="missing/note"),),
        (replace(file, path=".threadhouse-restore"),),
    )

    for number, entries in enumerate(cases):
        rewrite(folder, *entries)
        with pytest.raises(BackupError, match="damaged"):
            restorer.restore(Place(tmp_path / f"new{number}").config, folder, quiet)

    rewrite(folder, link, replace(file, path="x"))  # the link is replaced, and what it leads to stays
    restorer.restore(Place(tmp_path / "last").config, folder, quiet)
    assert (tmp_path / "last" / "workspaces" / "x").read_text() == "old\n"
    assert list(outside.iterdir()) == []


def test_a_mode_loses_what_gives_the_rights_of_its_owner(old: Place, new: Place, folder: Path) -> None:
    old.note.chmod(0o6755)

    maker.make(old.config, folder, quiet)
    restorer.restore(new.config, folder, quiet)

    assert stat.S_IMODE(new.note.stat().st_mode) == 0o755


# -- refusals


def test_a_backup_refuses_a_folder_that_is_not_its_own(old: Place, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "thesis").touch()
    (tmp_path / "link").symlink_to(old.workspaces)

    assert "something else" in str(old.run("backup", str(folder)).exception)
    assert "which is backed up" in str(old.run("backup", str(old.workspaces / "backup")).exception)
    assert "which is backed up" in str(old.run("backup", str(tmp_path / "link" / "backup")).exception)
    assert "no database" in str(Place(tmp_path / "none").run("backup", str(tmp_path / "b")).exception)


def test_a_backup_in_use_is_left_alone(old: Place, new: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    with (folder / maker.LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert "in use" in str(old.run("backup", str(folder)).exception)
        assert "in use" in str(new.run("restore", str(folder)).exception)


def test_a_restore_needs_an_empty_deployment_that_does_not_run(places: tuple[Place, Place], folder: Path) -> None:
    old, new = places
    assert old.run("backup", str(folder)).exit_code == 0
    assert new.run("migrate").exit_code == 0
    store = Store(new.config.database_url)

    new.workspaces.mkdir(parents=True, exist_ok=True)
    (new.workspaces / "file").touch()
    store.close()
    assert "workspaces is not empty" in str(new.run("restore", str(folder)).exception)
    (new.workspaces / "file").unlink()
    store.workers.report(WORKER)
    store.close()
    assert "uses the database" in str(new.run("restore", str(folder)).exception)
    store.workers.remove(WORKER.name)
    (new.home / "run").mkdir(exist_ok=True)
    with (new.home / "run" / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "threadhouse up" in str(new.run("restore", str(folder)).exception)
    store.users.add("bob", "member")
    store.close()
    assert "users or threads" in str(new.run("restore", str(folder)).exception)
    with store.database.write() as connection:
        connection.execute(delete(users))
    store.close()

    assert (restored := new.run("restore", str(folder))).exit_code == 0, restored.exception
    assert new.run("users", "list", "--json").output == old.run("users", "list", "--json").output


@pytest.mark.parametrize("places", ["postgres"], indirect=True)
def test_a_restore_is_refused_while_somebody_is_connected_to_postgres(
    places: tuple[Place, Place], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = places
    maker.make(old.config, folder, quiet)
    store = Store(new.config.database_url)

    with monkeypatch.context() as patched, store.database.read() as connection:
        patched.setattr(database, "END_SECONDS", 0)
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(BackupError, match="stop all processes"):
            restorer.restore(new.config, folder, quiet)
    store.close()

    assert restorer.restore(new.config, folder, quiet).users == 1


def test_up_cannot_start_during_a_restore(old: Place, new: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    refused = []

    def start(_size: int) -> None:
        refused.append(str(new.run("up").exception))

    restorer.restore(new.config, folder, start)

    assert all(f"in use by pid {os.getpid()}" in error for error in refused)
    assert refused


@pytest.mark.parametrize("header", [{"database": "postgres"}, {"schema": "9999"}, {"schema": None}])
def test_a_backup_of_another_database_or_of_a_newer_version_is_refused(
    old: Place, new: Place, folder: Path, header: dict[str, Any]
) -> None:
    maker.make(old.config, folder, quiet)
    rewrite(folder, **header)

    with pytest.raises(BackupError, match=r"THREADHOUSE_DATABASE_URL|restore it with that version"):
        restorer.restore(new.config, folder, quiet)


def test_a_missing_program_of_postgres_is_named(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    place = Place(tmp_path / "old", "postgresql://127.0.0.1:1/none")

    refused = place.run("backup", str(folder))

    assert "pg_dump is not installed" in str(refused.exception)
    assert "postgresql-client" in str(refused.exception)


def test_a_password_is_no_argument_of_a_program(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/seen; echo "$PGPASSWORD" > {tmp_path}/password; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(maker, "schema_step", lambda _url: "0001")
    place = Place(tmp_path / "old", f"postgresql://ada:{SECRET}@db1:5432,db2:5432/none?target_session_attrs=any")

    assert "pg_dump failed" in str(place.run("backup", str(folder)).exception)

    seen = (tmp_path / "seen").read_text()
    assert SECRET not in seen
    assert re.search(r"host='?db1,db2'?.*target_session_attrs=any|target_session_attrs=any.*host='?db1,db2'?", seen)
    assert (tmp_path / "password").read_text().strip() == SECRET


def test_a_secret_that_a_program_cannot_be_given_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    place = Place(tmp_path / "old", f"postgresql://ada@127.0.0.1:1/none?sslpassword={SECRET}")

    refused = str(place.run("backup", str(folder)).exception)

    assert "URL has sslpassword" in refused
    assert "service=NAME" in refused
    assert SECRET not in refused
    assert not (tmp_path / "started").exists()


# -- an interrupted restore


@pytest.mark.parametrize("calls", range(4))
def test_an_interrupted_restore_continues_with_the_same_backup_only(
    old: Place, new: Place, folder: Path, tmp_path: Path, calls: int
) -> None:
    (old.note.parent / "src").chmod(0o555)
    maker.make(old.config, folder, quiet)
    other = tmp_path / "other"
    maker.make(old.config, other, quiet)
    rewrite(other, at_ms=7)
    if calls < 3:  # two files and the database; the last case has nothing to interrupt
        with pytest.raises(Interrupted):
            restorer.restore(new.config, folder, interrupt_after(calls))
        with pytest.raises(BackupError, match="unfinished restore"):
            restorer.restore(new.config, other, quiet)

    restored = restorer.restore(new.config, folder, quiet)

    assert (restored.files, restored.users, restored.threads) == (2, 1, 1)
    assert new.tree() == old.tree()


def test_a_restore_that_was_interrupted_after_the_database_only_migrates(
    places: tuple[Place, Place], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = places
    store = Store(old.config.database_url)
    store.workers.report(WORKER)
    store.close()
    maker.make(old.config, folder, quiet)

    def interrupt(_url: str) -> None:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(restorer, "migrate", interrupt)
        with pytest.raises(Interrupted):
            restorer.restore(new.config, folder, quiet)

    assert restorer.restore(new.config, folder, interrupt_after(0)).users == 1


def test_a_damaged_marker_is_named(old: Place, new: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)
    new.home.mkdir()
    (new.home / restorer.MARKER).write_text("{")

    with pytest.raises(BackupError, match="is damaged"):
        restorer.restore(new.config, folder, quiet)


def test_the_manifest_is_lines_of_json_that_other_programs_can_read(old: Place, folder: Path) -> None:
    maker.make(old.config, folder, quiet)

    header, *entries, end = map(json.loads, (folder / NAME).read_text().splitlines())

    assert header["backup"] == asdict(Manifest(folder).header)
    assert [entry["path"].rpartition("/")[2] for entry in entries if entry["kind"] == FILE] == ["note", "run.sh"]
    assert end["sha256"] == Manifest(folder).digest


def test_walk_names_a_folder_before_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()

    found: list[Found] = list(walk(tmp_path, Counter()))

    assert [each.path for each in found] == ["a", "a/b", "a/b/c"]
