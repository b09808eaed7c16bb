"""Repacks an uploaded archive, entry by entry, as a tar of our own that is safe to unpack; or refuses it as a whole.

Plain files, folders, and relative links that stay inside are accepted. Anything else (paths and links that lead out,
hard links, devices, names that differ only in case, bombs) causes the whole archive to be refused.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import stat as modes
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Protocol, cast

from shared.errors import InvalidRequest

MAX_RATIO = 200  # of unpacked to packed bytes; text reaches 20
RATIO_FREE_BYTES = 16 << 20  # unpacked bytes below which the ratio does not matter
MAX_HEADER_BYTES = 1 << 20  # of one entry's names and attributes
MAX_DIRECTORY_BYTES = 32 << 20  # of a zip's list of entries
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 3000
MAX_DEPTH = 100
COPY_BYTES = 1 << 20
ZIP_END = b"PK\x05\x06"
ZIP64_LOCATOR = b"PK\x06\x07"
END_RECORD_BYTES = 22
MAX_COMMENT_BYTES = 0xFFFF
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes, max_entries: of everything that is unpacked."""

    max_bytes: int
    max_entries: int


class WritableStream(Protocol):
    """Where the tar is written to."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of an archive.

    mode:   with the bits of its kind
    data:   opens the content of a file, size bytes, once
    target: of a link
    """

    name: str
    mode: int
    size: int
    data: Callable[[], IO[bytes]] | None = None
    target: str = ""


def repack(pieces: Iterable[bytes], limits: Limits, out: WritableStream) -> None:
    """Write an archive, which comes in pieces, as a safe tar. Errors: InvalidRequest, which says why it is refused."""
    with tempfile.TemporaryFile() as packed:
        for piece in pieces:
            packed.write(piece)
        size = packed.tell()
        most = min(limits.max_bytes, max(RATIO_FREE_BYTES, size * MAX_RATIO))
        try:
            _write(_entries(packed, size, limits, most), Limits(most, limits.max_entries), out)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise _refused(f"it is damaged ({error})") from None
        except (UnicodeError, NotImplementedError, RuntimeError, ValueError, OverflowError, RecursionError) as error:
            raise _refused(f"it cannot be read ({type(error).__name__})") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise _refused(f"it is damaged ({error})") from None


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"the archive is refused, and nothing of it was kept: {why}"[:500])


def _entries(packed: IO[bytes], size: int, limits: Limits, most: int) -> Iterator[_Entry]:
    packed.seek(0)
    head = packed.read(512)
    packed.seek(0)
    if head.startswith((b"PK\x03\x04", ZIP_END)):
        yield from _of_zip(packed, size, limits)
    elif head.startswith(b"\x1f\x8b"):
        with tempfile.TemporaryFile() as plain:
            _inflate(packed, plain, most + limits.max_entries * 2048)
            plain.seek(0)
            yield from _of_tar(plain)
    elif head[257:262] == b"ustar":
        yield from _of_tar(packed)
    else:
        raise _refused("it is neither a zip nor a tar nor a tar.gz")


def _inflate(packed: IO[bytes], plain: IO[bytes], most: int) -> None:
    with gzip.GzipFile(fileobj=packed, mode="rb") as file:
        while data := file.read(COPY_BYTES):
            if plain.tell() + len(data) > most:
                raise _refused("it unpacks to more than is allowed")
            plain.write(data)


class _BoundedReader(io.RawIOBase):
    """A file that refuses reads larger than a header: a crafted header could make tarfile read any size at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise _refused("it has an entry with a header of more than 1 MiB")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _of_tar(file: IO[bytes]) -> Iterator[_Entry]:
    with tarfile.open(fileobj=cast(Any, _BoundedReader(file)), mode="r:", errors="strict", encoding="utf-8") as tar:
        while (entry := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
            if entry.isdir():
                yield _Entry(entry.name, modes.S_IFDIR, 0)
            elif entry.issym():
                yield _Entry(entry.name, modes.S_IFLNK, 0, target=entry.linkname)
            elif entry.isreg() and not entry.issparse():
                data = tar.extractfile(entry)
                assert data is not None
                yield _Entry(entry.name, modes.S_IFREG | entry.mode & 0o111, entry.size, partial(_same, data))
            elif entry.islnk():
                raise _refused(f"it has a hard link: {entry.name!r:.200}")
            else:
                raise _refused(f"it has an entry that is not a plain file, folder or link: {entry.name!r:.200}")
        file.seek(tar.offset)  # tarfile treats a header that it cannot read as the end
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise _refused("it is damaged in the middle")


def _same(file: IO[bytes]) -> IO[bytes]:
    return file


def _of_zip(file: IO[bytes], size: int, limits: Limits) -> Iterator[_Entry]:
    _check_zip_end(file, size, limits)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = modes.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 0x1:
                raise _refused(f"it is encrypted: {info.filename!r:.200}")
            if info.compress_type not in METHODS:
                raise _refused(f"it uses a compression other than deflate: {info.filename!r:.200}")
            if info.filename != info.orig_filename:  # it was cut at a NUL
                raise _refused(f"it has a name with a NUL: {info.filename!r:.200}")
            if info.is_dir():
                yield _Entry(info.filename, modes.S_IFDIR, 0)
            elif kind == modes.S_IFLNK:
                if info.file_size > MAX_PATH_BYTES:
                    raise _refused(f"it has a link that leads nowhere: {info.filename!r:.200}")
                with archive.open(info) as link:
                    yield _Entry(info.filename, kind, 0, target=link.read(MAX_PATH_BYTES).decode())
            elif kind in (0, modes.S_IFREG):
                mode = modes.S_IFREG | info.external_attr >> 16 & 0o111
                yield _Entry(info.filename, mode, info.file_size, partial(archive.open, info))
            else:
                raise _refused(f"it has an entry that is not a plain file, folder or link: {info.filename!r:.200}")


def _check_zip_end(file: IO[bytes], size: int, limits: Limits) -> None:
    """Check the size of the list of entries before zipfile reads it as a whole. Errors: InvalidRequest."""
    file.seek(max(0, size - END_RECORD_BYTES - MAX_COMMENT_BYTES - 20))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(ZIP_END)
    if end < 0 or len(tail) - end < END_RECORD_BYTES:
        raise _refused("it is a zip whose end is missing")
    if ZIP64_LOCATOR in tail[max(0, end - 20) : end]:
        raise _refused("it is a zip64; pack it as tar.gz")
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    directory_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if count > limits.max_entries or directory_bytes > MAX_DIRECTORY_BYTES or directory_bytes > size:
        raise _refused(f"it has more than {limits.max_entries} entries")


class _Names:
    """The names so far: no name occurs twice, and nothing lies below anything other than a folder."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, int]] = {}  # folded path → (path, kind)
        self._named: set[str] = set()

    def add(self, name: str, kind: int) -> str:
        """Return the normalized relative path of an entry; "" is the root. Errors: InvalidRequest."""
        path = _normalized(name)
        if path == "":
            if kind != modes.S_IFDIR:
                raise _refused("it has a file without a name")
            return path
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            wanted = kind if depth == len(parts) else modes.S_IFDIR
            known, known_kind = self._known.setdefault(_folded(part), (part, wanted))
            if known != part:
                raise _refused(f"it has two names that are the same on some systems: {known!r:.100} and {part!r:.100}")
            if known_kind != wanted:
                raise _refused(f"it has an entry both as a folder and as something else: {part!r:.200}")
        if path in self._named and kind != modes.S_IFDIR:
            raise _refused(f"it has two entries with the same name: {path!r:.200}")
        self._named.add(path)
        return path


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def _normalized(name: str) -> str:
    """Return a path without empty and "." parts. Errors: InvalidRequest; UnicodeError for lone surrogates."""
    if name.startswith("/") or "\\" in name or any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise _refused(f"it has a path that is absolute or has backslashes or control characters: {name!r:.200}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    raw = name.encode()
    if ".." in parts:
        raise _refused(f"it has a path that leads out of the archive: {name!r:.200}")
    if (
        len(parts) > MAX_DEPTH
        or len(raw) > MAX_PATH_BYTES
        or any(len(part.encode()) > MAX_NAME_BYTES for part in parts)
    ):
        raise _refused(f"it has a path that is too long: {name!r:.200}")
    return "/".join(parts)


def _check_link(path: str, target: str) -> None:
    """Refuse a link that could lead outside. Errors: InvalidRequest.

    `..` is allowed only at the beginning of its target and not beyond the root: so the link stays inside, wherever the
    other links lead.
    """
    parts = target.split("/")
    up = 0
    while up < len(parts) and parts[up] in ("..", "."):
        up += 1
    climbs = parts[:up].count("..")
    invalid = not target or target.startswith("/") or "\0" in target or "\\" in target or ".." in parts[up:]
    if invalid or climbs > path.count("/") or len(target.encode()) > MAX_PATH_BYTES:
        raise _refused(f"it has a link that leads out of the archive: {path!r:.200} to {target!r:.200}")


def _write(entries: Iterator[_Entry], limits: Limits, out: WritableStream) -> None:
    names = _Names()
    total = count = 0
    with tarfile.open(fileobj=cast(Any, out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=COPY_BYTES) as tar:
        for entry in entries:
            count += 1
            total += entry.size
            if count > limits.max_entries:
                raise _refused(f"it has more than {limits.max_entries} entries")
            if total > limits.max_bytes or entry.size < 0:
                raise _refused(f"it unpacks to more than {limits.max_bytes} bytes")
            kind = modes.S_IFMT(entry.mode)
            path = names.add(entry.name, kind)
            if path == "":
                continue
            info = tarfile.TarInfo(posixpath.join(".", path))
            if kind == modes.S_IFDIR:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif kind == modes.S_IFLNK:
                _check_link(path, entry.target)
                info.type, info.linkname = tarfile.SYMTYPE, entry.target
                tar.addfile(info)
            else:
                assert entry.data is not None
                info.size, info.mode = entry.size, 0o755 if entry.mode & 0o111 else 0o644
                with entry.data() as data:
                    tar.addfile(info, data)  # copies exactly that many bytes, or raises an error
