"""Images on their way into a history: what no model API accepts is found before it is stored.

A provider refuses a whole request over one bad image, and a history is sent again with every request, so one bad image
would end every later turn of its thread. The checks read headers and the frame of the file and decode no pixels: a
decoder (Pillow) would run native code on what strangers send, in a process with credentials, and finds no JPEG that was
cut off unless it decodes all of it. What passes here and is refused all the same is left out when a provider says so.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidImage, InvalidRequest

MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_SIDE_PIXELS = 16_384
MAX_PIXELS = 100_000_000
MAX_SEGMENTS = 65_536  # of one file: each takes a step of a loop
REMOTE = ("http://", "https://")
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_PNG, _GIF = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of frames, which have width and height
_JPEG_SCAN = 0xDA


def refuse_remote(url: str) -> None:
    """Refuse the URL of an image elsewhere, as the original does. Errors: InvalidRequest."""
    if url[:8].lower().startswith(REMOTE):
        raise InvalidRequest("remote image URLs are not supported; use an inline data URL instead")


def checked_url(url: object) -> str:
    """Return the data URL of an image, with the media type that its content has. Errors: InvalidImage."""
    if not isinstance(url, str):
        raise InvalidImage("its URL is no text")
    if url[:8].lower().startswith(REMOTE):
        raise InvalidImage("remote image URLs are not supported; use an inline data URL instead")
    head, comma, payload = url[:200].partition(",")
    if not comma or not head.lower().startswith("data:") or not head.lower().endswith(";base64"):
        raise InvalidImage("only data: URLs with base64 are supported")
    payload = url[len(head) + 1 :]
    if len(payload) > (MAX_IMAGE_BYTES + 2) // 3 * 4:
        raise InvalidImage(f"it is larger than {MAX_IMAGE_BYTES} bytes")
    try:
        data = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        raise InvalidImage("its data is not base64") from None
    return f"data:{media_type(data)};base64,{payload}"


def data_url(data: bytes) -> str:
    """Return an image file as a data URL. Errors: InvalidImage."""
    return f"data:{media_type(data)};base64,{binascii.b2a_base64(data, newline=False).decode()}"


def media_type(data: bytes) -> str:
    """Return the media type of an image by its content, because names and declared types prove nothing.

    Errors: InvalidImage (no PNG, JPEG, GIF or WebP; too large; damaged, or cut off, as far as its frame shows)
    """
    if not data:
        raise InvalidImage("it is empty")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidImage(f"it is larger than {MAX_IMAGE_BYTES} bytes")
    try:
        kind, width, height = _frame(data)
    except (struct.error, IndexError):
        raise InvalidImage("it is cut off") from None
    if not (width and height):
        raise InvalidImage("it has no pixels")
    if max(width, height) > MAX_SIDE_PIXELS or width * height > MAX_PIXELS:
        raise InvalidImage(f"{width} × {height} pixels are too many")
    return kind


def replace_refused(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Responses-API item of another server, with a text in place of each image that is refused."""
    replaced = dict(item)
    for name in ("content", "output"):
        parts = item.get(name)
        if isinstance(parts, list):
            replaced[name] = [_checked_part(part) if is_image(part) else part for part in parts]
    return replaced


def image_parts(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the images in a Responses-API item, whatever else its members are."""
    lists = [parts for name in ("content", "output") if isinstance(parts := item.get(name), list)]
    return [part for parts in lists for part in parts if is_image(part)]


def is_image(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "input_image"


def left_out(reason: object) -> str:
    """Return what a model reads in place of an image."""
    return f"[an image was left out: {reason}]"


def _checked_part(part: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {**part, "image_url": checked_url(part.get("image_url"))}
    except InvalidImage as error:
        return {"type": "input_text", "text": left_out(error)}


def _frame(data: bytes) -> tuple[str, int, int]:
    """Return the media type, the width and the height. Errors: InvalidImage; IndexError, struct.error: cut off."""
    if data.startswith(_PNG):
        return "image/png", *_png_size(data)
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", *_jpeg_size(data)
    if data.startswith(_GIF):
        return "image/gif", *_gif_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", *_webp_size(data)
    raise InvalidImage("it is not a PNG, JPEG, GIF or WebP image")


def _png_size(data: bytes) -> tuple[int, int]:
    """Return the size of a PNG whose chunks are whole, from IHDR to IEND."""
    at, names = len(_PNG), set()
    for _ in range(MAX_SEGMENTS):
        length, name = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != checksum:
            raise InvalidImage("it is damaged: a checksum is wrong")
        names.add(name)
        if name == b"IEND":
            break
        at += 12 + length
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if not {b"IHDR", b"IDAT", b"IEND"} <= names or data[12:16] != b"IHDR":
        raise InvalidImage("it is damaged: a part of it is missing")
    if depth not in PNG_DEPTHS.get(colour, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise InvalidImage("it is damaged: its header is not valid")
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return the size of a JPEG whose segments are whole up to its first scan, and that has an end behind it."""
    at, size = 2, None
    for _ in range(MAX_SEGMENTS):
        if data[at] != 0xFF:
            raise InvalidImage("it is damaged: a segment is missing")
        marker = data[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _JPEG_FRAMES:
            size = struct.unpack_from(">HH", data, at + 5)
        at += 2 + length
        if marker == _JPEG_SCAN:
            break
    else:
        raise InvalidImage("it is damaged: it has too many segments")
    if size is None:
        raise InvalidImage("it is damaged: it has no frame")
    if data.find(b"\xff\xd9", at) < 0:
        raise InvalidImage("it is cut off")
    height, width = size
    return width, height


def _gif_size(data: bytes) -> tuple[int, int]:
    """Return the size of a GIF whose blocks are whole, from the first to the trailer, with an image among them."""
    width, height = struct.unpack_from("<HH", data, 6)
    at, has_image = 13 + _colour_bytes(data[10]), False
    for _ in range(MAX_SEGMENTS):
        match data[at]:
            case 0x3B:
                if not has_image:
                    raise InvalidImage("it is damaged: it has no frame")
                return width, height
            case 0x2C:
                has_image = True
                at += 11 + _colour_bytes(data[at + 9])
            case 0x21:
                at += 2
            case _:
                raise InvalidImage("it is damaged: a block is missing")
        while length := data[at]:
            at += 1 + length
        at += 1
    raise InvalidImage("it is damaged: it has too many blocks")


def _colour_bytes(flags: int) -> int:
    """Return the length of a GIF's colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the size of a WebP that is as long as it says."""
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise InvalidImage("it is cut off")
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    raise InvalidImage("it is damaged: its first part is not known")
