"""A workspace is made: in a folder beside its place, and moved there when it is whole. Nobody ever sees half of one.

Beside the workspace stays `ID.start`, a git store of all files as they were: what the diff is against. No thread's
commands see it.
"""

from __future__ import annotations

import errno
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from shared.config import Config
from shared.errors import (
    AddressRefused,
    ClaimLost,
    InvalidParams,
    InvalidRequest,
    NotFound,
    ToolError,
    Unavailable,
)
from shared.store import Store
from shared.store.workspaces import PLACING, READY, Workspace
from shared.workspaces import git_source
from workers import workspace
from workers.agent import faults
from workers.agent.signal import Signal
from workers.agent.stops import raise_if_called
from workers.calls.area import area, server_folders
from workers.sandbox import files
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process
from workers.sources import archive, scripts
from workers.sources.git import Fetch

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 1.0  # between signs of life
LOOK_SECONDS = 0.25  # between looks at what somebody else makes
PIECE_BYTES = 4 << 20  # of what is delivered into the sandbox
SCRIPT_SECONDS = 900.0
TOO_LARGE = 3  # exit code of a script
TREE, IN, START = "tree", "in", "start"


class Failed(Exception):
    """It cannot be made; str() says why, to the one who asked for it."""


def make(
    config: Config,
    store: Store,
    thread_id: str,
    owner: str,
    signal: Signal | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make a thread's workspace, or wait until somebody else has.

    signal, say: of the turn that waits for it; each line of progress is said
    Errors:      Failed; those of workers.agent.stops; of the database
    """
    signal = signal or Signal()
    maker = f".making-{thread_id}-{secrets.token_hex(8)}"
    while True:
        found = store.workspaces.take(thread_id, owner, maker)
        if found is not None:
            break
        raise_if_called(signal)
        time.sleep(LOOK_SECONDS)
    if found.state == READY:
        return
    making = _Making(config, store, found, maker, signal, say)
    if found.state == PLACING and found.maker is not None:
        making.name = found.maker
        making.move()
        return
    if found.maker is not None:
        making.remove(found.maker)  # what a worker that was lost had begun
    making.run()


class _Making:
    def __init__(
        self,
        config: Config,
        store: Store,
        wanted: Workspace,
        name: str,
        signal: Signal,
        say: Callable[[str], None],
    ) -> None:
        """name: of the folder that it is made in."""
        self.name = name
        self._config = config
        self._store = store
        self._wanted = wanted
        self._signal = signal
        self._say = say
        self._limits = config.workspaces
        self._own = area(config, wanted.owner).own

    @property
    def _folder(self) -> Path:
        return self._own / self.name

    def run(self) -> None:
        """Errors: Failed; those of workers.agent.stops."""
        rows, thread_id = self._store.workspaces, self._wanted.thread_id
        try:
            with self._alive():
                start_tree, base = self._make()
            if not rows.place(thread_id, self.name, start_tree, base):
                raise ClaimLost("another worker makes the workspace")
        except (InvalidRequest, InvalidParams, AddressRefused, ToolError, Unavailable, OSError) as error:
            why = str(error.strerror if isinstance(error, OSError) else error)
            self.remove(self.name)
            rows.fail(thread_id, self.name, why)
            raise Failed(why) from error
        except BaseException:
            self.remove(self.name)
            rows.leave(thread_id, self.name)
            raise
        faults.at("before_placed")
        self.move()

    def move(self) -> None:
        """To its place; also when an earlier attempt was cut in the middle of this. Errors: Failed."""
        thread_id = self._wanted.thread_id
        for part, target in ((START, f"{thread_id}.start"), (TREE, thread_id)):
            if not files.exists(self._own, f"{self.name}/{part}"):
                continue  # it is there already
            try:
                files.rename(self._own, f"{self.name}/{part}", target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                self.remove(self.name)
                why = "there are files in the workspace already; start another thread"
                self._store.workspaces.fail(thread_id, self.name, why)
                raise Failed(why) from None
        self.remove(self.name)
        self._store.workspaces.finish(thread_id, self.name)
        if "archive" in self._wanted.source:
            self._store.archives.delete(self._wanted.source["archive"], self._wanted.owner)

    def remove(self, name: str) -> None:
        try:
            files.remove_folder(self._own, name, recursive=True)
        except FileNotFoundError:
            pass
        except (OSError, ToolError) as error:
            logger.warning("a folder that is not needed any more could not be removed: %s: %s", name, error)

    def _make(self) -> tuple[str, str | None]:
        """(tree at the start, commit that is checked out)."""
        files.make_folders(self._own, f"{self.name}/{IN}")
        source = self._wanted.source
        if "gitUrl" in source:
            self._clone()
        elif "archive" in source:
            self._unpack(source["archive"])
        else:
            self._copy(source["forkOf"])
        found = self._script(scripts.KEEP, {}).split()
        if not found:
            raise ToolError("the files could not be read")
        git = workspace.git_info(self._folder / TREE, self._folder / TREE)
        return found[-1], git["sha"] if git else None

    def _clone(self) -> None:
        limits = self._limits
        user_name = self._store.workspaces.user_name(self._wanted.owner)
        source = git_source(limits, user_name, self._wanted.source)
        with tempfile.TemporaryDirectory(prefix="threadhouse-git-") as folder:
            fetch = Fetch(
                source,
                Path(folder),
                self._signal,
                self._say,
                depth=limits.git_depth,
                seconds=limits.git_seconds,
                max_bytes=limits.max_bytes,
            )
            fetched = fetch.run()
            faults.at("mid_clone")
            for pack in fetched.packs:
                self._deliver(pack, "pack")
            if fetched.shallow is not None:
                self._deliver(fetched.shallow, "shallow")
        given = {
            "SHA": fetched.sha,
            "OBJECT": fetched.object,
            "BRANCH": fetched.branch or "",
            "TAG": fetched.tag or "",
            "URL": source.url,
        }
        self._script(scripts.CLONE, given)

    def _unpack(self, archive_id: str) -> None:
        most = archive.Limits(self._limits.max_bytes, self._limits.max_entries)
        with _Pieces(self._own, f"{self.name}/{IN}/tar") as out:
            archive.clean(self._heeding(self._store.archives.read(archive_id, self._wanted.owner)), most, out)
        self._script(scripts.UNPACK, {})

    def _copy(self, thread_id: str) -> None:
        """As it is now; of a thread that never ran, nothing. Errors: NotFound (it was deleted meanwhile)."""
        if self._store.threads.find(thread_id, self._wanted.owner) is None:
            raise NotFound("the thread that it is a fork of is gone")
        source = workspace.workspace_for(self._own.parent, self._own.name, thread_id)
        self._script(scripts.COPY, {"FROM": str(source)}, source)

    def _deliver(self, file: Path, name: str) -> None:
        with file.open("rb") as opened, _Pieces(self._own, f"{self.name}/{IN}/{name}") as out:
            while data := opened.read(PIECE_BYTES):
                raise_if_called(self._signal)
                out.write(data)

    def _heeding(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            raise_if_called(self._signal)
            yield piece

    def _script(self, text: str, given: Mapping[str, str], *readable: Path) -> str:
        """What it says. It can write this folder, read that and `readable`, and has no network. Errors: ToolError."""
        folder = self._folder
        places = {"TREE": folder / TREE, "IN": folder / IN, "START": folder / START}
        limits = {"MAX_BYTES": self._limits.max_bytes, "MAX_ENTRIES": self._limits.max_entries}
        policy = SandboxPolicy(
            kind="workspace-write",
            cwd=folder,
            writable_roots=(folder,),
            readable_roots=(folder, *readable),
            hidden=server_folders(self._config),
        )
        process = Process(
            ["/bin/sh", "-c", text],
            cwd=folder,
            policy=policy,
            limits=CommandLimits(wall_seconds=SCRIPT_SECONDS),
            stderr_apart=True,
            env={**scripts.ENVIRONMENT, **{name: str(value) for name, value in (places | limits).items()}, **given},
        )
        process.attend(self._signal, None, drain_s=0)
        raise_if_called(self._signal)
        if process.exit_code == TOO_LARGE:
            raise ToolError(process.output.text().strip()[-500:])
        if process.exit_code != 0:
            said = process.errors.text().strip()[-500:] or process.stopped_by or f"exit code {process.exit_code}"
            raise ToolError(f"the files cannot be laid out: {said}")
        return process.output.text()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Signs of life while the block runs."""
        ended = threading.Event()

        def live() -> None:
            while not ended.wait(ALIVE_SECONDS):
                try:
                    self._store.workspaces.keep(self._wanted.thread_id, self.name)
                except SQLAlchemyError as error:
                    logger.warning("a workspace's sign of life could not be stored: %s", error)

        thread = threading.Thread(target=live, name="workspace", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class _Pieces:
    """A file to write that the sandbox finds as a folder of pieces, in order of their names."""

    def __init__(self, root: Path, relative: str) -> None:
        self._root = root
        self._relative = relative
        self._waiting = bytearray()
        self._number = 0

    def __enter__(self) -> _Pieces:
        files.make_folders(self._root, self._relative)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()

    def write(self, data: bytes) -> int:
        self._waiting += data
        if len(self._waiting) >= PIECE_BYTES:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        files.write_bytes(self._root, f"{self._relative}/{self._number:08}", bytes(self._waiting))
        self._waiting.clear()
        self._number += 1
