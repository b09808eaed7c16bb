"""Which settings of a repository are harmless. All others could name a program, or a file with more settings.

git's file format has many ways to write the same. Only lines of the plain form that git itself writes are understood
and kept, so that what is kept can mean nothing else.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

SECTION = re.compile(r'\[([A-Za-z][A-Za-z0-9-]*)(?: "([^"\\\0-\x1f]*)")?\]')
LINE = re.compile(r'([A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*([^"\\#;\0-\x1f]*|"[^"\\\0-\x1f]*"))?')
EXEC = re.compile(rb"^\s*(x|exec)\s", re.MULTILINE)
HARMLESS = {
    "core": {
        *("repositoryformatversion", "filemode", "bare", "logallrefupdates", "ignorecase", "precomposeunicode"),
        *("symlinks", "autocrlf", "eol", "safecrlf", "quotepath", "abbrev", "compression", "bigfilethreshold"),
        *("sparsecheckout", "sparsecheckoutcone"),
    },
    "extensions": {"objectformat", "refstorage", "partialclone", "worktreeconfig"},
    "remote": {"url", "pushurl", "fetch", "push", "tagopt", "mirror", "promisor", "partialclonefilter", "prune"},
    "branch": {"remote", "pushremote", "merge", "rebase", "description"},
    "submodule": {"url", "active", "branch", "ignore"},
    "user": {"name", "email"},
    "init": {"defaultbranch"},
    "pull": {"rebase", "ff"},
    "push": {"default", "autosetupremote", "followtags"},
    "fetch": {"prune", "prunetags"},
    "merge": {"ff", "conflictstyle"},
    "rebase": {"autostash", "autosquash"},
    "gc": {"auto"},
    "index": {"version", "sparse"},
    "commit": {"gpgsign"},
    "tag": {"gpgsign"},
}
SKIPPED = re.compile(r"([#;][^\\\0-\x08\x0b-\x1f]*)?")  # empty lines and comments
SPACE = " \t\r"  # that git ignores around a line
HELPER = "::"  # in an address: the name of a program that fetches it


def harmless(config: bytes, before: bytes) -> tuple[bytes, list[str]]:
    """Return (the lines that are harmless or were in the same section before, names of the settings left out)."""
    known = {(header, line) for header, line, _ in _lines(before)}
    kept: list[str] = []
    removed: list[str] = []
    for header, line, raw in _lines(config):
        if (header, line) in known or SKIPPED.fullmatch(line) or SECTION.fullmatch(line) or _is_harmless(header, line):
            kept.append(raw)
        elif not line.startswith(("#", ";")):
            removed.append(_name(header, line))
    return "\n".join(kept).encode(errors="surrogateescape"), list(dict.fromkeys(removed))


def runs(todo: bytes) -> bool:
    """Return whether the list of a rebase contains commands."""
    return EXEC.search(todo) is not None


def _lines(config: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (header of its section, line without white space around it, line as it is).

    A line that goes on in the next one contains an LF, and so it is never of the plain form.
    """
    header = ""
    left = deque(config.decode(errors="surrogateescape").split("\n"))
    while left:
        pieces = [left.popleft()]
        comment = pieces[0].lstrip(SPACE).startswith(("#", ";"))
        while left and not comment and pieces[-1].rstrip("\r").endswith("\\"):
            pieces.append(left.popleft())
        raw = "\n".join(pieces)
        line = raw.strip(SPACE)
        if line.startswith("["):
            header = line
        yield header, line, raw


def _is_harmless(header: str, line: str) -> bool:
    section, setting = SECTION.fullmatch(header), LINE.fullmatch(line)
    if section is None or setting is None or HELPER in line:
        return False
    return setting[1].lower() in HARMLESS.get(section[1].lower(), ())


def _name(header: str, line: str) -> str:
    """Return the setting as people write it, for messages."""
    section = re.sub(r"[^A-Za-z0-9.-]+", ".", header.strip("[]\"' ")).strip(".")
    key = line.partition("=")[0].strip()
    return re.sub(r"[^\w.-]", "?", f"{section}.{key}" if not line.startswith("[") else section)[:60] or "?"
