"""Which paths of the host an owner may name, and how they are opened.

A user of a server with keys may name what lies in their own workspaces, and nothing else. The local user, whose machine
it is, may name everything that the server's own account may touch, or what lies below `workspace_roots`; but nothing
that belongs to the server itself (its home, with configuration and database, its Redis), and no file that gives access
to running processes. Both may write wherever they may read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.config import Config
from shared.errors import InvalidRequest
from shared.ids import is_id
from shared.shell_environment import ShellEnvironmentPolicy, merged, variables
from shared.store.users import LOCAL_USER
from workers.sandbox import files, names
from workers.sandbox.bubblewrap import FIXED, INHERITED
from workers.sandbox.policy import OWN_FOLDERS
from workers.workspace.folders import OWNER, workspace_for

KERNEL_FOLDERS = tuple(map(Path, ("/proc", "/sys", "/dev", "/run")))


@dataclass(frozen=True, slots=True)
class ScopedPath:
    """A checked path, to be opened with workers.sandbox.files.

    follow_links: links may be followed, because they cannot lead to anything that is not allowed
    """

    root: Path
    relative: Path
    follow_links: bool


@dataclass(frozen=True, slots=True)
class WorkspaceScope:
    """The paths that an owner may name. All folders are real paths.

    hosted: whether the owner is a user of a server with keys
    own:    the folder of the owner's workspaces
    roots:  what may be named lies below one of these
    hidden: folders of the server itself, which may not be named
    """

    hosted: bool
    own: Path
    roots: tuple[Path, ...]
    hidden: tuple[Path, ...]

    @contextmanager
    def scoped_path(self, path: str, *, follow: bool = True) -> Iterator[ScopedPath]:
        """Check a path. follow: a link in its last name is followed. Errors: InvalidRequest."""
        real = self.real_path(path, follow=follow)
        if self.hosted:
            yield self._in_workspace(real, follow=follow)
        elif real == Path("/"):
            yield ScopedPath(real, Path(), follow_links=False)
        else:
            with files.pinned(real.parent) as root:
                yield ScopedPath(root, Path(real.name), follow_links=False)

    @contextmanager
    def scoped_folder(self, path: str) -> Iterator[ScopedPath]:
        """Check a folder and all that is in it; for the local user it becomes the root. Errors: InvalidRequest."""
        real = self.real_path(path, follow=False)
        self.check_tree(real)
        if self.hosted:
            yield self._in_workspace(real, follow=False)
        else:
            with files.pinned(real) as root:
                yield ScopedPath(root, Path(), follow_links=False)

    def real_path(self, path: str, *, follow: bool = True) -> Path:
        """Return an absolute path, checked; for the local user without links. Errors: InvalidRequest."""
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise InvalidRequest(f"expected an absolute path without `..`, got {path[:200]!r}")
        named = Path("/" + os.path.normpath(path).lstrip("/"))
        if self.hosted:  # the kernel follows links, and only beneath the folder
            below = next((named.relative_to(root) for root in self.roots if named.is_relative_to(root)), None)
            if below is None:
                raise InvalidRequest(f"the path is outside of your workspaces: {path[:200]}")
            return self.own / below
        real = files.real_path(named) if follow else files.real_path(named.parent) / named.name
        if not any(real.is_relative_to(root) for root in self.roots):
            raise InvalidRequest(f"the path is outside of the folders that this server allows: {path[:200]}")
        if any(real.is_relative_to(folder) for folder in self.hidden) and not real.is_relative_to(self.own):
            raise InvalidRequest(f"the path belongs to the server itself: {path[:200]}")
        return real

    def _is_beside(self, real: Path, named: Path) -> bool:
        """Return whether both are in the same workspace, or both the folder of all workspaces."""
        if not real.is_relative_to(self.own):
            return False
        return real.relative_to(self.own).parts[:1] == named.relative_to(self.own).parts[:1]

    def _in_workspace(self, real: Path, *, follow: bool) -> ScopedPath:
        """Return a hosted path below the workspace that it lies in, or the folder of all workspaces itself.

        The workspace becomes the root, so its own name is never followed when it is a link, nor written or removed.
        """
        workspace, *below = real.relative_to(self.own).parts or ("",)
        return ScopedPath(self.own / workspace, Path(*below), follow_links=follow)

    def check_replaceable(self, real: Path) -> None:
        """Raise InvalidRequest when a folder may not be removed or copied over: it is a whole workspace, or more."""
        self.check_tree(real)
        if self.hosted and real.parent == self.own:
            raise InvalidRequest(f"a thread's whole workspace, which goes with its thread by thread/delete: {real}")

    def check_tree(self, real: Path) -> None:
        """Raise InvalidRequest when a folder of the server itself lies below, or it is the owner's whole folder."""
        if real == self.own or any(folder.is_relative_to(real) for folder in self.hidden):
            raise InvalidRequest(f"contains folders of the server itself: {real}")

    def cwd(self, path: str | None) -> Path:
        """Return a folder to work in; default: the owner's own. A thread's folder is made when it is missing.

        Errors: InvalidRequest
        """
        if path is None:
            return self.own
        named = self.real_path(path)
        if named.parent == self.own and is_id(named.name):
            workspace_for(self.own.parent, self.own.name, named.name)
        real = files.real_path(named)
        if self.hosted and not self._is_beside(real, named):
            raise InvalidRequest(f"the path leads out of its workspace by a link: {path[:200]}")
        if not files.is_folder(real):
            raise InvalidRequest(f"no such folder on the worker: {path[:200]}")
        if not names.is_text(real):
            raise InvalidRequest(f"the folder {names.NO_TEXT}: {names.shown(real)[:200]}")
        return real


def workspace_scope(config: Config, owner: str) -> WorkspaceScope:
    """Return an owner's scope. The folder of their workspaces is made with mode 0700 when it is missing."""
    server = config.server
    if not OWNER.fullmatch(owner):
        raise ValueError(f"not usable as the name of a folder: owner {owner!r}")
    named = files.make_private_folder(server.workspaces_dir, owner)
    if owner != LOCAL_USER:
        own = files.real_path(named)
        return WorkspaceScope(hosted=True, own=own, roots=(named, own), hidden=())
    hidden = (*server_folders(config), *_database_files(config), server.workspaces_dir, *KERNEL_FOLDERS)
    own, *real = files.real_paths([named, *hidden, *map(Path, server.workspace_roots)])
    roots = (own, *real[len(hidden) :]) if server.workspace_roots else (Path("/"),)
    return WorkspaceScope(hosted=False, own=own, roots=roots, hidden=tuple(real[: len(hidden)]))


def server_folders(config: Config) -> tuple[Path, ...]:
    """Return the server's own folders, which no command may see: who sees a socket can talk to what listens there."""
    redis = urlsplit(config.redis_url)
    sockets = [Path(unquote(redis.path)).parent] if redis.scheme == "unix" else []
    if config.server.tool_runner is not None:
        sockets.append(config.server.tool_runner.parent)
    return (config.home, *(folder for folder in sockets if folder not in OWN_FOLDERS))


def _database_files(config: Config) -> list[Path]:
    url = urlsplit(config.database_url)
    file = url.path.removeprefix("/")
    return [Path(file + suffix) for suffix in ("", "-wal", "-shm")] if url.scheme.startswith("sqlite") else []


def shell_variables(config: Config, policy: ShellEnvironmentPolicy | None = None) -> dict[str, str | None]:
    """Return what the configuration, and a thread's policy over it, change of the variables of commands.

    The result is as CommandSpec.env expects it.
    """
    both = merged(asdict(config.shell_environment_policy), policy or {})
    return variables(both, INHERITED, (*FIXED, "TERM"))
