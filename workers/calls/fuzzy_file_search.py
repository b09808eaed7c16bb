"""fuzzyFileSearch: find files and folders whose path contains the characters of a query, in the same order.

In a repository the files are those that git would show (tracked, or not ignored). git runs in the sandbox, because a
repository's configuration can name programs to run. Elsewhere folders are walked, up to a number of files and a time.
"""

from __future__ import annotations

import re
import stat as modes
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypedDict

from shared.config import Config
from shared.errors import InvalidRequest, ToolError
from shared.protocol.settings import READ_ONLY_POLICY
from workers.calls import client_command
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.process import run_to_end
from workers.workspace.scope import WorkspaceScope, workspace_scope

MAX_RESULTS = 50
MAX_PATHS = 100_000
MAX_LIST_BYTES = 16 * 1024 * 1024
SEARCH_SECONDS = 5.0  # for each root
LIST_FILES = ["git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
UNWALKED = (".git", "node_modules", "__pycache__", ".venv", "target")
STARTS_WORD = re.compile(r"(?:^|(?<=[/_\-. ]))[^/_\-. ]|(?<=[a-z])[A-Z]")
POINT, AT_WORD, IN_A_ROW, IN_NAME = 16, 10, 8, 4  # score of a character, and what its position adds


class Match(NamedTuple):
    """How a path matches a query. score: higher is better; indices: where in the path the query's characters are."""

    score: int
    indices: list[int]


class Params(TypedDict):
    """roots: absolute paths of the folders to search."""

    query: str
    roots: Sequence[str]


class FoundFile(TypedDict):
    """A file or folder. path: below root."""

    root: str
    path: str
    match_type: str
    file_name: str
    score: int
    indices: Sequence[int]


class Result(TypedDict):
    """files: the best matches, best first."""

    files: Sequence[FoundFile]


def run(config: Config, call: RunningCall, params: Params) -> Result:
    """Return the best matches. Errors: InvalidRequest, ToolError."""
    found: list[FoundFile] = []
    scope = workspace_scope(config, call.owner)
    for root in params["roots"]:
        cwd = scope.cwd(root)
        for path, kind in _entries(config, scope, cwd):
            if call.cancelled.is_set():
                break
            matched = match(params["query"], path)
            if matched is not None:
                name = PurePosixPath(path).name
                found.append(
                    {
                        "root": root,
                        "path": path,
                        "match_type": kind,
                        "file_name": name,
                        "score": matched.score,
                        "indices": matched.indices,
                    }
                )
    found.sort(key=lambda result: (-result["score"], len(result["path"]), result["path"]))
    return {"files": found[:MAX_RESULTS]}


def match(query: str, path: str) -> Match | None:
    """Match a path; None when a character is missing. Capitals count only when the query contains one."""
    text = path if query != query.lower() else path.lower()
    if len(text) != len(path):  # a character whose lower case has two characters: the indices would be wrong
        return None
    indices = _indices(query, text, text.rfind("/") + 1) or _indices(query, text, 0)
    if not indices:
        return None
    starts = {found.start() for found in STARTS_WORD.finditer(path)}
    name_at = path.rfind("/") + 1
    score = 0
    for position, index in enumerate(indices):
        score += POINT + AT_WORD * (index in starts) + IN_NAME * (index >= name_at)
        score += IN_A_ROW * (position > 0 and indices[position - 1] == index - 1)
    return Match(score, indices)


def _indices(query: str, text: str, start: int) -> list[int]:
    """Return where the characters are: in a row if possible, else each as late as the next one allows, to be close."""
    whole = text.find(query, start)
    if whole >= 0:
        return list(range(whole, whole + len(query)))
    index = start - 1
    for character in query:
        index = text.find(character, index + 1)
        if index < 0:
            return []
    indices = []
    index += 1
    for character in reversed(query):
        index = text.rfind(character, start, index)
        indices.append(index)
    return indices[::-1]


def _entries(config: Config, scope: WorkspaceScope, cwd: Path) -> Iterator[tuple[str, str]]:
    """Yield (path below cwd, "file" or "directory")."""
    listed = _listed_by_git(config, scope, cwd)
    paths = listed if listed is not None else _walked(scope, cwd)
    seen: set[PurePosixPath] = {PurePosixPath(".")}
    for path in paths:
        yield path, "file"
        for folder in PurePosixPath(path).parents:
            if folder in seen:
                break
            seen.add(folder)
            yield str(folder), "directory"


def _listed_by_git(config: Config, scope: WorkspaceScope, cwd: Path) -> Iterable[str] | None:
    """Return what git lists; None when this is not a repository, or git is missing."""
    limits = CommandLimits(wall_seconds=SEARCH_SECONDS, output_bytes=2 * MAX_LIST_BYTES)
    output = bytearray()

    def collect(number: int, data: bytes) -> bool:
        if number == 1 and len(output) < MAX_LIST_BYTES:
            output.extend(data)
        return True

    policy = client_command.policy_for(config, scope, READ_ONLY_POLICY, cwd)
    spec = CommandSpec(argv=LIST_FILES, cwd=cwd, policy=policy, limits=limits, separate_stderr=True)
    process = run_to_end(spec, on_bytes=collect)
    if process.exit_code != 0:
        return None
    paths = bytes(output).split(b"\0")[:-1]
    return [path.decode(errors="replace") for path in paths[:MAX_PATHS]]


def _walked(scope: WorkspaceScope, cwd: Path) -> Iterator[str]:
    until_s = time.monotonic() + SEARCH_SECONDS
    folders = deque([Path()])
    count = 0
    while folders and time.monotonic() < until_s:
        folder = folders.popleft()
        try:
            with scope.scoped_path(str(cwd / folder)) as at:
                entries = files.list_folder(at.root, at.relative, follow_links=at.follow_links)
        except (InvalidRequest, ToolError, OSError):
            continue
        for name, entry in entries:
            if modes.S_ISDIR(entry.st_mode):
                if name not in UNWALKED:
                    folders.append(folder / name)
                continue
            count += 1
            if count > MAX_PATHS:
                return
            yield str(folder / name).encode(errors="replace").decode()
