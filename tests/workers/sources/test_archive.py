"""Archives: what is accepted, and what causes the whole archive to be refused."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from shared.errors import InvalidRequest
from workers.sources import archive
from workers.sources.archive import Limits

LIMITS = Limits(max_bytes=40 << 20, max_entries=50)
FILE, FOLDER, LINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE
Entry = tuple[str, bytes, bytes | str]


def tar_of(*entries: Entry, mode: str = "w") -> bytes:
    """Return a tar of entries: (name, type, content or target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o4755
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content) if kind == FILE else 0
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*entries: Entry) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, kind, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            kinds = {FILE: stat.S_IFREG | 0o755, FOLDER: stat.S_IFDIR | 0o755, LINK: stat.S_IFLNK | 0o777}
            info.external_attr = kinds.get(kind, stat.S_IFIFO) << 16
            made.writestr(info, content)
    return out.getvalue()


def repacked(data: bytes, limits: Limits = LIMITS) -> dict[str, tuple[bytes, int, bytes | str]]:
    """Return name → (type, mode, content or target) of the repacked tar."""
    out = io.BytesIO()
    archive.repack((data[at : at + 1000] for at in range(0, len(data), 1000)), limits, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        found: dict[str, tuple[bytes, int, bytes | str]] = {}
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            found[info.name] = (info.type, info.mode, file.read() if file else info.linkname)
    return found


GOOD: tuple[Entry, ...] = (
    ("src/", FOLDER, b""),
    ("src/main.py", FILE, b"print()\n"),
    ("./docs/a b.txt", FILE, b"x" * 5000),
    ("docs/link", LINK, "../src/main.py"),
    ("docs/\u00e9t\u00e9", FILE, b""),
)


@pytest.mark.parametrize("pack", [tar_of, lambda *e: tar_of(*e, mode="w:gz"), zip_of], ids=["tar", "tar.gz", "zip"])
def test_files_folders_and_inner_links_are_repacked_without_special_bits(pack: Callable[..., bytes]) -> None:
    found = repacked(pack(*GOOD))

    assert found["./src/main.py"] == (FILE, 0o755, b"print()\n")
    assert found["./docs/a b.txt"][2] == b"x" * 5000
    assert found["./docs/link"] == (LINK, 0o644, "../src/main.py")
    assert found["./src"][:2] == (FOLDER, 0o755)
    assert "./docs/\u00e9t\u00e9" in found


HOSTILE: dict[str, tuple[Entry, ...]] = {
    "goes up": (("../evil", FILE, b""),),
    "goes up in the middle": (("a/../../evil", FILE, b""),),
    "is absolute": (("/etc/cron.d/evil", FILE, b""),),
    "has backslashes": (("..\\evil", FILE, b""),),
    "has control characters": (("a\nb", FILE, b""),),
    "is twice there": (("a", FILE, b"1"), ("./a", FILE, b"2")),
    "differs in case only": (("README", FILE, b"1"), ("readme", FILE, b"2")),
    "differs in the case of a folder": (("Src/a", FILE, b"1"), ("src/b", FILE, b"2")),
    "is one with another after normalisation": (("\u00e9", FILE, b"1"), ("e\u0301", FILE, b"2")),
    "is a file and a folder": (("a", FILE, b"1"), ("a/b", FILE, b"2")),
    "is a folder and then a file": (("a/b", FILE, b"2"), ("a", FILE, b"1")),
    "is below a link": (("a", LINK, "."), ("a/b", FILE, b"2")),
    "becomes a link later": (("a/b", FILE, b"2"), ("a", LINK, "/etc")),
    "links to an absolute path": (("a", LINK, "/etc/passwd"),),
    "links out": (("a", LINK, "../x"),),
    "links out from below": (("a/b", LINK, "../../x"),),
    "links up behind a link": (("d/e/l", LINK, "../.."), ("out", LINK, "d/e/l/../x")),
    "links nowhere": (("a", LINK, ""),),
    "is a fifo": (("a", tarfile.FIFOTYPE, b""),),
    "is too long": (("a" * 300, FILE, b""),),
    "is too deep": (("a/" * 101 + "b", FILE, b""),),
    "is one too many": tuple((f"{n}", FILE, b"") for n in range(LIMITS.max_entries + 1)),
}
TAR_ONLY: dict[str, tuple[Entry, ...]] = {
    "is the root itself": (("./", FILE, b"x"),),
    "is a hard link": (("a", FILE, b""), ("b", tarfile.LNKTYPE, "a")),
    "is a hard link out": (("b", tarfile.LNKTYPE, "/etc/passwd"),),
    "is a device": (("a", tarfile.CHRTYPE, b""),),
    "is a block device": (("a", tarfile.BLKTYPE, b""),),
}


@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_entry_refuses_the_whole_archive(what: str, pack: Callable[..., bytes]) -> None:
    with pytest.raises(InvalidRequest, match="nothing of it was kept"):
        repacked(pack(("fine", FILE, b"fine"), *HOSTILE[what]))


@pytest.mark.parametrize("what", TAR_ONLY)
def test_hostile_entries_that_only_a_tar_can_have_are_refused(what: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing of it was kept"):
        repacked(tar_of(("fine", FILE, b"fine"), *TAR_ONLY[what]))


def overlapping_zip() -> bytes:
    """Return a zip with two entries that share their bytes."""
    data = bytearray(zip_of(("a", FILE, b"0" * 1000), ("b", FILE, b"1" * 1000)))
    second = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)
    data[second + 42 : second + 46] = (0).to_bytes(4, "little")
    return bytes(data)


def lying_zip() -> bytes:
    """Return a zip with an entry that claims to be smaller than it is."""
    data = bytearray(zip_of(("a", FILE, b"0" * 100_000)))
    offset = data.find(b"PK\x01\x02")
    data[offset + 24 : offset + 28] = (10).to_bytes(4, "little")
    return bytes(data)


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"hello" * 1000,
    "half a tar": lambda: tar_of(("a", FILE, b"x" * 100_000))[:50_000],
    "half a tar.gz": lambda: tar_of(("a", FILE, bytes(range(256)) * 400), mode="w:gz")[:500],
    "half a zip": lambda: zip_of(("a", FILE, b"x" * 100_000))[:-30],
    "a tar that is damaged in the middle": lambda: tar_of(("a", FILE, b"x"))[:1024] + b"\1" * 1024,
    "a bomb": lambda: tar_of(("a", FILE, bytes(41 << 20)), mode="w:gz"),
    "a zip bomb": lambda: zip_of(("a", FILE, bytes(41 << 20))),
    "a bomb of many": lambda: zip_of(*((f"{n}", FILE, bytes(5 << 20)) for n in range(9))),
    "an overlapping zip": overlapping_zip,
    "a lying zip": lying_zip,
    "a zip64": lambda: zip_of(("a", FILE, b""))[:-22] + b"PK\x06\x07" + bytes(16) + zip_of(("a", FILE, b""))[-22:],
}


@pytest.mark.parametrize("what", BROKEN)
def test_damaged_archives_and_bombs_are_refused(what: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing of it was kept"):
        repacked(BROKEN[what]())


def test_compression_ratio_is_limited_even_without_a_size_limit() -> None:
    with pytest.raises(InvalidRequest, match=r"bomb|unpacks to more"):
        repacked(tar_of(("a", FILE, bytes(20 << 20)), mode="w:gz"), Limits(1 << 40, 50))


def test_encrypted_zip_is_refused_by_its_flag() -> None:
    data = bytearray(zip_of(("a", FILE, b"x")))
    data[6] |= 1
    offset = data.find(b"PK\x01\x02")
    data[offset + 8] |= 1

    with pytest.raises(InvalidRequest, match="encrypted"):
        repacked(bytes(data))


def test_oversized_header_is_not_read() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 20

    with pytest.raises(InvalidRequest, match="header of more than 1 MiB"):
        repacked(info.tobuf() + b"a" * (2 << 20) + b"\0" * 1024)
