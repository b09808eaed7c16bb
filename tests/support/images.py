"""Small whole images, and damaged ones that model APIs refuse."""

from __future__ import annotations

import base64
import struct
import zlib


def png(width: int = 1, height: int = 1, *, filler: int | bytes = 0, depth: int = 8) -> bytes:
    """A grey PNG. filler: a part that nobody reads, or its number of bytes."""
    rows = zlib.compress(bytes((width + 1) * height))
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"teSt", bytes(filler)), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


PNG = png()
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080001000101011100ffda0008010100003f00d2cf20ffd9")
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
WEBP = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
WHOLE = {"image/png": PNG, "image/jpeg": JPEG, "image/gif": GIF, "image/webp": WEBP}
REFUSED_URLS = {
    "empty": "data:image/png;base64,",
    "another type": data_url(b"abc"),
    "not base64": "data:image/png;base64,!!!!",
    "not ASCII": "data:image/png;base64,äöüß",
    "no padding": "data:image/png;base64,AAA",
    "no comma": "data:image/png;base64",
    "no base64 at all": "data:image/png,abc",
    "a page": "data:text/html;base64,PGI+",
    "cut in half": data_url(PNG[: len(PNG) // 2]),
    "a file": "file:///etc/passwd",
    "nothing": "",
}
