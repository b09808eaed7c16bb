"""Looks at the paths that a sandbox depends on, in one request to the tool runner, which executes this.

A tool runner of an earlier release does not know these functions: the same is then asked for piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shared.errors import ToolError
from workers.sandbox import files
from workers.sandbox.runner import repeatable_by_runner

MAX_POINTER_BYTES = 4096  # of a `.git` that is a file


class RealPaths(NamedTuple):
    """What was found. All paths are without links.

    roots, others: the paths that were named
    git:           of each root its `.git` and, when that is a file, the folders of the repository that it leads to
    """

    roots: list[Path]
    others: list[Path]
    git: list[Path]


class ThreadPaths(NamedTuple):
    """own: the thread's own folder; has_cwd: whether the folder that it works in exists"""

    own: Path
    has_cwd: bool
    real: RealPaths


def find_real_paths(roots: Sequence[Path], others: Sequence[Path], *, git: bool) -> RealPaths:
    """Return the paths with all links resolved, as far as they exist. git: whether to look for repositories"""
    try:
        return RealPaths(*resolve_by_runner(roots, others, git=git))
    except ToolError:
        return RealPaths(*resolve_here(roots, others, git=git))


def prepare_thread(
    workspaces: Path, names: Sequence[str], cwd: Path, roots: Sequence[Path], others: Sequence[Path], *, git: bool
) -> ThreadPaths:
    """Make a thread's own folder of these names below workspaces if it is missing, and look at its paths.

    Errors: ToolError when something else than a folder has one of the names
    """
    try:
        own, has_cwd, real = make_and_look_by_runner(workspaces, names, cwd, roots, others, git=git)
    except ToolError:
        own, has_cwd, real = make_and_look_here(workspaces, names, cwd, roots, others, git=git)
    return ThreadPaths(own, has_cwd, RealPaths(*real))


Resolved = tuple[list[Path], list[Path], list[Path]]


def resolve_here(roots: Sequence[Path], others: Sequence[Path], *, git: bool) -> Resolved:
    real = files.real_paths([*roots, *others])
    found, rest = real[: len(roots)], real[len(roots) :]
    return found, rest, [path for root in found for path in _git_paths(root)] if git else []


def make_and_look_here(
    workspaces: Path, names: Sequence[str], cwd: Path, roots: Sequence[Path], others: Sequence[Path], *, git: bool
) -> tuple[Path, bool, Resolved]:
    own = files.make_private_folder(workspaces, *names)
    return own, files.is_folder(cwd), resolve_here(roots, others, git=git)


def _git_paths(root: Path) -> list[Path]:
    paths = [root / ".git"]
    folder, name, prefix = root, ".git", "gitdir:"
    for _ in range(2):
        try:
            text = files.read_bytes(folder, name, MAX_POINTER_BYTES, follow_links=False).decode().strip()
        except (OSError, ToolError, UnicodeDecodeError):
            break
        folder = files.real_path(folder / text.removeprefix(prefix).strip())
        if not files.is_folder(folder):
            break
        paths.append(folder)
        name, prefix = "commondir", ""
    return paths


resolve_by_runner = repeatable_by_runner(resolve_here)
make_and_look_by_runner = repeatable_by_runner(make_and_look_here)
