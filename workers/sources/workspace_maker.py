"""Makes a thread's workspace from its source: a git repository, an archive, or the workspace of another thread.

It is made in a temporary folder beside its final path and moved there when it is complete, so that a partial workspace
is never visible. `ID.start` stays beside the workspace: a git store of all files as they were at the start, which the
diff is against. No thread's commands can see it.
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
from shared.config.workspaces import git_source
from shared.errors import (
    AddressRefused,
    ClaimLost,
    InvalidParams,
    InvalidRequest,
    NotFound,
    ToolError,
    Unavailable,
)
from shared.protocol.sandbox_modes import WORKSPACE_WRITE
from shared.store import Store
from shared.store.users import LOCAL_USER
from shared.store.workspaces import PLACING, READY, Workspace
from workers.control.fault_points import fault_point
from workers.control.signal import Signal
from workers.control.stops import raise_if_stop_requested
from workers.sandbox import files
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process
from workers.sources import archive, scripts
from workers.sources.git import Fetch
from workers.workspace import folders
from workers.workspace.scope import server_folders, workspace_scope

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 1.0  # between heartbeats
POLL_SECONDS = 0.25  # between checks whether another worker has finished making it
PIECE_BYTES = 4 << 20  # of each file that is handed to the sandbox
SCRIPT_SECONDS = 900.0
TOO_LARGE = 3  # exit code of a script; its standard output says why
TREE, IN, START = "tree", "in", "start"


class WorkspaceFailed(Exception):
    """The workspace cannot be made; str() says why, to the user who asked for it."""


def make_workspace(
    config: Config,
    store: Store,
    thread_id: str,
    owner: str,
    signal: Signal | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Make a thread's workspace, or wait until another worker has made it.

    signal:      of the turn that waits for it
    on_progress: called with each line of progress
    Errors:      WorkspaceFailed; those of workers.control.stops; those of the database
    """
    signal = signal or Signal()
    name = f".making-{thread_id}-{secrets.token_hex(8)}"
    while True:
        found = store.workspaces.claim(thread_id, owner, name)
        if found is not None:
            break
        raise_if_stop_requested(signal)
        time.sleep(POLL_SECONDS)
    if found.state == READY:
        return
    maker = _WorkspaceMaker(config, store, found, name, signal, on_progress)
    if found.state == PLACING and found.maker is not None:
        maker.name = found.maker
        maker.move()
        return
    if found.maker is not None:
        maker.remove(found.maker)  # what a lost worker had begun
    maker.run()


class _WorkspaceMaker:
    """One attempt to make one workspace."""

    def __init__(
        self,
        config: Config,
        store: Store,
        wanted: Workspace,
        name: str,
        signal: Signal,
        on_progress: Callable[[str], None],
    ) -> None:
        """name: of the temporary folder that the workspace is made in."""
        self.name = name
        self._config = config
        self._store = store
        self._wanted = wanted
        self._signal = signal
        self._on_progress = on_progress
        self._limits = config.workspaces
        self._own = workspace_scope(config, wanted.owner).own

    @property
    def _folder(self) -> Path:
        return self._own / self.name

    def run(self) -> None:
        """Make the workspace and move it to its path. Errors: WorkspaceFailed; those of workers.control.stops."""
        rows, thread_id = self._store.workspaces, self._wanted.thread_id
        try:
            with self._heartbeats():
                start_tree, base = self._make()
            if not rows.mark_placing(thread_id, self.name, start_tree, base):
                raise ClaimLost("another worker is making the workspace")
        except (InvalidRequest, InvalidParams, AddressRefused, ToolError, Unavailable, OSError) as error:
            why = str(error.strerror if isinstance(error, OSError) else error)
            self.remove(self.name)
            rows.fail(thread_id, self.name, why)
            raise WorkspaceFailed(why) from error
        except BaseException:
            self.remove(self.name)
            rows.release(thread_id, self.name)
            raise
        fault_point("before_placed")
        self.move()

    def move(self) -> None:
        """Move it to its path; also when an earlier attempt stopped in the middle of this. Errors: WorkspaceFailed."""
        thread_id = self._wanted.thread_id
        for part, target in ((START, f"{thread_id}.start"), (TREE, thread_id)):
            if not files.exists(self._own, f"{self.name}/{part}"):
                continue  # it has been moved already
            try:
                files.rename(self._own, f"{self.name}/{part}", target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                self.remove(self.name)
                why = "there are files in the workspace already; start a new thread"
                self._store.workspaces.fail(thread_id, self.name, why)
                raise WorkspaceFailed(why) from None
        self.remove(self.name)
        self._store.workspaces.finish(thread_id, self.name)
        if "archive" in self._wanted.source:
            self._store.archives.delete(self._wanted.source["archive"], self._wanted.owner)

    def remove(self, name: str) -> None:
        """Remove a temporary folder, if it exists."""
        try:
            files.remove_folder(self._own, name, recursive=True)
        except FileNotFoundError:
            pass
        except (OSError, ToolError) as error:
            logger.warning("temporary folder not removed: %s: %s", name, error)

    def _make(self) -> tuple[str, str | None]:
        """Make it in the temporary folder. Return (git tree of the files, commit that is checked out)."""
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
        git = folders.git_info(self._folder / TREE, self._folder / TREE)
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
                self._on_progress,
                depth=limits.git_depth,
                seconds=limits.git_seconds,
                max_bytes=limits.max_bytes,
            )
            fetched = fetch.run()
            fault_point("mid_clone")
            for pack in fetched.packs:
                self._hand_over(pack, "pack")
            if fetched.shallow is not None:
                self._hand_over(fetched.shallow, "shallow")
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
        with _PieceWriter(self._own, f"{self.name}/{IN}/tar") as out:
            pieces = self._store.archives.read(archive_id, self._wanted.owner)
            archive.repack(self._until_stopped(pieces), most, out)
        self._script(scripts.UNPACK, {})

    def _copy(self, thread_id: str) -> None:
        """Copy the workspace of another thread as it is now. Errors: NotFound when that thread was deleted."""
        if self._store.threads.find(thread_id, self._wanted.owner) is None:
            raise NotFound("the thread that this thread was forked from is gone")
        source = folders.workspace_for(self._own.parent, self._own.name, thread_id)
        self._script(scripts.COPY, {"FROM": str(source)}, source)

    def _hand_over(self, file: Path, name: str) -> None:
        with file.open("rb") as opened, _PieceWriter(self._own, f"{self.name}/{IN}/{name}") as out:
            while data := opened.read(PIECE_BYTES):
                raise_if_stop_requested(self._signal)
                out.write(data)

    def _until_stopped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            raise_if_stop_requested(self._signal)
            yield piece

    def _script(self, text: str, given: Mapping[str, str], *readable: Path) -> str:
        """Run a shell script in a sandbox without network. Return its output. Errors: ToolError.

        It may write the temporary folder, and read that and `readable`. given: variables for it.
        """
        folder = self._folder
        paths = {"TREE": folder / TREE, "IN": folder / IN, "START": folder / START}
        limits = {"MAX_BYTES": self._limits.max_bytes, "MAX_ENTRIES": self._limits.max_entries}
        policy = SandboxPolicy(
            kind=WORKSPACE_WRITE,
            cwd=folder,
            writable_roots=(folder,),
            readable_roots=(folder, *readable),
            hidden=server_folders(self._config),
        )
        if self._wanted.owner != LOCAL_USER:
            policy = folders.bounded(policy, self._config.limits, self._own, folder / TREE)
        spec = CommandSpec(
            argv=["/bin/sh", "-c", text],
            cwd=folder,
            policy=policy,
            limits=CommandLimits(wall_seconds=SCRIPT_SECONDS),
            separate_stderr=True,
            env={**scripts.ENVIRONMENT, **{name: str(value) for name, value in (paths | limits).items()}, **given},
        )
        process = Process(spec)
        process.wait_or_stop(self._signal, None, drain_s=0)
        raise_if_stop_requested(self._signal)
        if process.exit_code == TOO_LARGE:
            raise ToolError(process.output.text().strip()[-500:])
        if process.exit_code != 0:
            reason = process.stopped_by or process.stderr.text().strip()[-500:] or f"exit code {process.exit_code}"
            raise ToolError(f"the files cannot be laid out: {reason}")
        return process.output.text()

    @contextmanager
    def _heartbeats(self) -> Iterator[None]:
        """Renew the claim on the workspace while the block runs."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(ALIVE_SECONDS):
                try:
                    self._store.workspaces.renew(self._wanted.thread_id, self.name)
                except SQLAlchemyError as error:
                    logger.warning("claim on a workspace not renewed: %s", error)

        thread = threading.Thread(target=renew, name="workspace", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class _PieceWriter:
    """Writes a file as a folder of pieces, whose names sort in the order of the pieces; the sandbox reads those."""

    def __init__(self, root: Path, relative: str) -> None:
        self._root = root
        self._relative = relative
        self._unwritten = bytearray()
        self._number = 0

    def __enter__(self) -> _PieceWriter:
        files.make_folders(self._root, self._relative)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()

    def write(self, data: bytes) -> int:
        self._unwritten += data
        if len(self._unwritten) >= PIECE_BYTES:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        files.write_bytes(self._root, f"{self._relative}/{self._number:08}", bytes(self._unwritten))
        self._unwritten.clear()
        self._number += 1
