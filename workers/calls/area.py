"""What of the host an owner may name, and how it is opened.

A user of a server with keys: what lies in their own workspaces, and nothing else. The local user, whose machine it is:
all that the server's own account may touch, or what lies below `workspace_roots`; but nothing that belongs to the
server itself (its home, with configuration and database, its Redis), and no file that is a door to running processes.
Both may write wherever they may read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.config import Config
from shared.errors import InvalidRequest
from shared.ids import is_id
from shared.store.users import LOCAL_USER
from workers.sandbox import files
from workers.sandbox.policy import OWN_FOLDERS
from workers.workspace import OWNER, workspace_for

KERNEL_FOLDERS = tuple(map(Path, ("/proc", "/sys", "/dev", "/run")))


@dataclass(frozen=True, slots=True)
class Place:
    """Something to open with workers.sandbox.files. follow_links: they cannot lead anywhere that is not allowed."""

    root: Path
    relative: Path
    follow_links: bool


@dataclass(frozen=True, slots=True)
class Area:
    """own: the owner's folder of workspaces. roots: what may be named lies below one of these. All are real paths."""

    hosted: bool
    own: Path
    roots: tuple[Path, ...]
    hidden: tuple[Path, ...]

    @contextmanager
    def place(self, path: str, *, follow: bool = True) -> Iterator[Place]:
        """Where a path lies. follow: a link in its last name is followed. Errors: InvalidRequest."""
        real = self.real(path, follow=follow)
        if self.hosted:
            yield Place(self.own, real.relative_to(self.own), follow_links=follow)
        elif real == Path("/"):
            yield Place(real, Path(), follow_links=False)
        else:
            with files.pinned(real.parent) as root:
                yield Place(root, Path(real.name), follow_links=False)

    @contextmanager
    def folder(self, path: str) -> Iterator[Place]:
        """The same for a folder with all that lies in it: the place's root is the folder itself."""
        real = self.real(path, follow=False)
        self.check_tree(real)
        if self.hosted:
            yield Place(self.own, real.relative_to(self.own), follow_links=False)
        else:
            with files.pinned(real) as root:
                yield Place(root, Path(), follow_links=False)

    def real(self, path: str, *, follow: bool = True) -> Path:
        """An absolute path, checked; without links for the local user. Errors: InvalidRequest."""
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise InvalidRequest(f"expected an absolute path without `..`, got {path[:200]!r}")
        named = Path("/" + os.path.normpath(path).lstrip("/"))
        if self.hosted:  # the kernel follows links, beneath the folder
            below = next((named.relative_to(root) for root in self.roots if named.is_relative_to(root)), None)
            if below is None:
                raise InvalidRequest(f"outside of your workspaces: {path[:200]}")
            return self.own / below
        real = files.real_path(named) if follow else files.real_path(named.parent) / named.name
        if not any(real.is_relative_to(root) for root in self.roots):
            raise InvalidRequest(f"outside of the folders that this server allows: {path[:200]}")
        if any(real.is_relative_to(one) for one in self.hidden) and not real.is_relative_to(self.own):
            raise InvalidRequest(f"belongs to the server itself: {path[:200]}")
        return real

    def check_tree(self, real: Path) -> None:
        """Errors: InvalidRequest, when something of the server itself lies below, or it is the owner's whole folder."""
        if real == self.own or any(one.is_relative_to(real) for one in self.hidden):
            raise InvalidRequest(f"holds folders of the server itself: {real}")

    def cwd(self, path: str | None) -> Path:
        """A folder to work in, that of a thread made when it is not there; default: the owner's own.

        Errors: InvalidRequest
        """
        if path is None:
            return self.own
        real = files.real_path(self.real(path))
        if real.parent == self.own and is_id(real.name):
            workspace_for(self.own.parent, self.own.name, real.name)
        if not files.is_folder(real):
            raise InvalidRequest(f"no such folder on the worker: {path[:200]}")
        return real


def area(config: Config, owner: str) -> Area:
    """The owner's, their own folder made with mode 0700 when it is not there."""
    server = config.server
    if not OWNER.fullmatch(owner):
        raise ValueError(f"no folder can be named by owner {owner!r}")
    named = files.make_private_folder(server.workspaces_dir, owner)
    if owner != LOCAL_USER:
        own = files.real_path(named)
        return Area(hosted=True, own=own, roots=(named, own), hidden=())
    hidden = (*server_folders(config), *_database_files(config), server.workspaces_dir, *KERNEL_FOLDERS)
    own, *real = files.real_paths([named, *hidden, *map(Path, server.workspace_roots)])
    roots = (own, *real[len(hidden) :]) if server.workspace_roots else (Path("/"),)
    return Area(hosted=False, own=own, roots=roots, hidden=tuple(real[: len(hidden)]))


def server_folders(config: Config) -> tuple[Path, ...]:
    """What no command may see of the server itself; those who can see a socket can speak with who listens there."""
    redis = urlsplit(config.redis_url)
    sockets = [Path(unquote(redis.path)).parent] if redis.scheme == "unix" else []
    if config.server.tool_runner is not None:
        sockets.append(config.server.tool_runner.parent)
    return (config.home, *(folder for folder in sockets if folder not in OWN_FOLDERS))


def _database_files(config: Config) -> list[Path]:
    url = urlsplit(config.database_url)
    file = url.path.removeprefix("/")
    return [Path(file + suffix) for suffix in ("", "-wal", "-shm")] if url.scheme.startswith("sqlite") else []
