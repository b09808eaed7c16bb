"""fuzzyFileSearch: files and folders whose path holds the letters of a query, in their order.

A repository's files are those that git would show (tracked, or not ignored); git runs in the sandbox, for a
repository's configuration can name programs. Elsewhere folders are walked, up to a number and a time.
"""

from __future__ import annotations

import re
import stat as modes
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from shared.config import Config
from shared.errors import InvalidRequest, ToolError
from workers.calls.area import Area, area
from workers.calls.command_exec import policy
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.sandbox.limits import CommandLimits
from workers.sandbox.process import run_to_end

MAX_RESULTS = 50
MAX_PATHS = 100_000
MAX_LIST_BYTES = 16 * 1024 * 1024
SEARCH_SECONDS = 5.0  # for each root
LIST_FILES = ["git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
READ_ONLY = {"type": "readOnly"}
UNWALKED = (".git", "node_modules", "__pycache__", ".venv", "target")
STARTS_WORD = re.compile(r"(?:^|(?<=[/_\-. ]))[^/_\-. ]|(?<=[a-z])[A-Z]")
POINT, AT_WORD, IN_A_ROW, IN_NAME = 16, 10, 8, 4


class Match(NamedTuple):
    """A path that has the query's letters. score: the higher the better; indices: of the letters, in characters."""

    score: int
    indices: list[int]


def run(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Takes: {"query", "roots": [absolute path]}; returns {"files": [FuzzyFileSearchResult, best first]}."""
    found = []
    place = area(config, call.owner)
    for root in params["roots"]:
        cwd = place.cwd(root)
        for path, kind in _entries(config, place, cwd):
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
    found.sort(key=lambda one: (-int(one["score"]), len(one["path"]), one["path"]))
    return {"files": found[:MAX_RESULTS]}


def match(query: str, path: str) -> Match | None:
    """Capitals count only in a query that has some. None: the letters are not all there."""
    text = path if query != query.lower() else path.lower()
    if len(text) != len(path):  # a letter whose small form has two
        return None
    indices = _letters(query, text, text.rfind("/") + 1) or _letters(query, text, 0)
    if not indices:
        return None
    starts = {found.start() for found in STARTS_WORD.finditer(path)}
    name_at = path.rfind("/") + 1
    score = 0
    for place, index in enumerate(indices):
        score += POINT + AT_WORD * (index in starts) + IN_NAME * (index >= name_at)
        score += IN_A_ROW * (place > 0 and indices[place - 1] == index - 1)
    return Match(score, indices)


def _letters(query: str, text: str, start: int) -> list[int]:
    """Where the letters are: all in a row if possible, else each as late as the rest allows, so that they are close."""
    whole = text.find(query, start)
    if whole >= 0:
        return list(range(whole, whole + len(query)))
    index = start - 1
    for letter in query:
        index = text.find(letter, index + 1)
        if index < 0:
            return []
    indices = []
    index += 1
    for letter in reversed(query):
        index = text.rfind(letter, start, index)
        indices.append(index)
    return indices[::-1]


def _entries(config: Config, place: Area, cwd: Path) -> Iterator[tuple[str, str]]:
    """(path below cwd, "file" or "directory")"""
    listed = _listed_by_git(config, place, cwd)
    paths = listed if listed is not None else _walked(place, cwd)
    seen: set[PurePosixPath] = {PurePosixPath(".")}
    for path in paths:
        yield path, "file"
        for folder in PurePosixPath(path).parents:
            if folder in seen:
                break
            seen.add(folder)
            yield str(folder), "directory"


def _listed_by_git(config: Config, place: Area, cwd: Path) -> Iterable[str] | None:
    """None: it is no repository, or git is not there."""
    limits = CommandLimits(wall_seconds=SEARCH_SECONDS, output_bytes=2 * MAX_LIST_BYTES)
    output = bytearray()

    def take(number: int, data: bytes) -> bool:
        if number == 1 and len(output) < MAX_LIST_BYTES:
            output.extend(data)
        return True

    process = run_to_end(
        LIST_FILES, cwd=cwd, policy=policy(config, place, READ_ONLY, cwd), limits=limits, on_bytes=take
    )
    if process.exit_code != 0:
        return None
    paths = bytes(output).split(b"\0")[:-1]
    return [path.decode(errors="replace") for path in paths[:MAX_PATHS]]


def _walked(place: Area, cwd: Path) -> Iterator[str]:
    until_s = time.monotonic() + SEARCH_SECONDS
    folders = deque([Path()])
    count = 0
    while folders and time.monotonic() < until_s:
        folder = folders.popleft()
        try:
            with place.place(str(cwd / folder)) as at:
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
