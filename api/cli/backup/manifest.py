"""The manifest of a backup: one line of JSON for the backup as a whole, one per entry, one with the digest of these.

A backup may be damaged, or written by somebody else: each line is checked when it is read, above all that no path leads
out of the folder that it is restored to. The digest finds damage, not forgery.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import BackupError

NAME = "manifest.jsonl"
FORMAT = 1
FILE, FOLDER, LINK = "file", "folder", "link"
ROOTS = ("workspaces", "sessions", "archived_sessions", "feedback")
DATABASES = ("sqlite", "postgres")
MODES = 0o1777  # what is kept of a mode: no set-user-id and no set-group-id
MAX_NAME_BYTES, MAX_TARGET_BYTES = 255, 4095
DIGEST = re.compile(r"[0-9a-f]{64}")

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link below one of the roots.

    path:     below the root, with `/`; bytes that are not UTF-8 are lone surrogates, as Python's `os.fsdecode` has them
    size:     of a file, in bytes; sha256: of its content
    target:   of a link
    """

    root: str
    path: str
    kind: str
    mode: int
    mtime_ns: int
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup is of.

    database: one of DATABASES; schema: its schema step; version: of Threadhouse; at_ms: when the snapshot was begun
    sha256:   of the snapshot of the database; size: its bytes
    """

    database: str
    schema: str | None
    version: str
    at_ms: int
    sha256: str
    size: int
    format: int = FORMAT


class ManifestDraft:
    """Writes a manifest, which takes effect as a whole with `finish`."""

    def __init__(self, folder: Path, header: Header) -> None:
        self._path = folder / NAME
        self._draft = folder / f"{NAME}.draft"
        self._file = open(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._write({"backup": asdict(header)})

    def add(self, entry: Entry) -> None:
        self._write({name: value for name, value in asdict(entry).items() if value not in ("", None)})

    def finish(self) -> None:
        """Put the manifest into effect, after all that it names is on the disk."""
        self._file.write(json.dumps({"sha256": self._digest.hexdigest()}).encode() + b"\n")
        self.close()
        os.sync()  # the contents first: a manifest promises that they are there
        os.replace(self._draft, self._path)

    def close(self) -> None:
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        data = json.dumps(line).encode() + b"\n"
        self._digest.update(data)
        self._file.write(data)


class Manifest:
    """The manifest of a finished backup.

    digest: identifies the backup
    """

    def __init__(self, folder: Path) -> None:
        """Open the manifest and check its digest. Errors: BackupError (unfinished, damaged)."""
        self._path = folder / NAME
        digest, last = hashlib.sha256(), b""
        for line in self._lines():
            digest.update(last)
            last = line
        self.digest = digest.hexdigest()
        if last != json.dumps({"sha256": self.digest}).encode() + b"\n":
            raise self._damaged("its digest is another one")
        self.header = self._read_header()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, each folder before what is in it. Errors: BackupError."""
        line = b""
        for number, following in enumerate(self._lines()):
            if number > 1:
                yield self._read_entry(line)
            line = following

    def _lines(self) -> Iterator[bytes]:
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                yield from file
        except FileNotFoundError:
            raise BackupError(
                f"{self._path.parent}: there is no finished backup: run `threadhouse backup` with this folder again"
            ) from None
        except OSError as error:
            raise BackupError(f"{self._path}: cannot be read: {error.strerror}") from None

    def _read_header(self) -> Header:
        values = self._object(next(self._lines())).get("backup")
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise BackupError(
                f"{self._path}: not a backup of format {FORMAT}: restore it with the version that made it"
            )
        header = self._made(Header, values)
        numbers = header.at_ms, header.size
        texts_are_valid = isinstance(header.schema, str | None) and isinstance(header.version, str)
        if header.database not in DATABASES or not all(map(_is_number, numbers)) or not texts_are_valid:
            raise self._damaged("its first line has an invalid value")
        if not _is_digest(header.sha256):
            raise self._damaged("its first line has an invalid value")
        return header

    def _read_entry(self, line: bytes) -> Entry:
        entry = self._made(Entry, self._object(line))
        problem = _problem_of(entry)
        if problem is not None:
            raise self._damaged(f"{problem}: {line[:200].decode(errors='replace').strip()}")
        return entry

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            raise self._damaged("a line is not JSON") from None
        if not isinstance(found, dict):
            raise self._damaged("a line is not an object")
        return found

    def _made(self, kind: type[Made], values: dict[str, Any]) -> Made:
        try:
            return kind(**values)
        except TypeError:
            raise self._damaged("a line has other members than it should") from None

    def _damaged(self, why: str) -> BackupError:
        return BackupError(f"{self._path} is damaged ({why}): use another backup")


def _problem_of(entry: Entry) -> str | None:
    """Return what is wrong with an entry, or None."""
    if entry.root not in ROOTS or entry.kind not in (FILE, FOLDER, LINK):
        return "an unknown kind"
    if not isinstance(entry.path, str) or not all(map(_is_name, entry.path.split("/"))):
        return "a path that leads elsewhere"
    if not _is_number(entry.mode) or entry.mode & ~MODES or not _is_number(entry.size):
        return "an invalid number"
    if type(entry.mtime_ns) is not int or not -(1 << 63) <= entry.mtime_ns < 1 << 63:
        return "an invalid time"
    if entry.kind == FILE and not _is_digest(entry.sha256):
        return "an invalid digest"
    if entry.kind == LINK and not _is_target(entry.target):
        return "an invalid link"
    return None


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _is_name(name: str) -> bool:
    """Return whether a part of a path names something in its folder."""
    return name not in ("", ".", "..") and "\0" not in name and _fits(name, MAX_NAME_BYTES)


def _is_target(target: object) -> bool:
    """Return whether a link can have this target. It may lead anywhere, because nothing follows it."""
    return isinstance(target, str) and bool(target) and "\0" not in target and _fits(target, MAX_TARGET_BYTES)


def _fits(text: str, max_bytes: int) -> bool:
    try:
        return len(os.fsencode(text)) <= max_bytes
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
