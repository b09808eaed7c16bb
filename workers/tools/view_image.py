"""view_image: a picture of the workspace, shown to the model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from shared.errors import ToolError
from shared.protocol import frames
from workers.sandbox import files
from workers.tools.base import Call, Outcome, Plan, ToolContext
from workers.tools.places import Place, place

NAME = "view_image"
PURE = True
MAX_IMAGE_BYTES = 10 * 1024 * 1024

SPEC: dict[str, Any] = {
    "type": "function",
    "name": NAME,
    "description": "Look at a picture of the file system: PNG, JPEG, GIF or WebP, up to 10 MiB.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "Absolute, or relative to the working directory"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}


def plan(call: Call, ctx: ToolContext) -> Plan:
    """Item `imageView` with the absolute path (PROTOCOL 3.3); data: its Place."""
    try:
        arguments = frames.decode(call.arguments.encode(errors="replace"))
    except ValueError as error:
        raise ToolError(f"view_image: the arguments are not JSON: {error}") from None
    name = arguments.get("path") if isinstance(arguments, dict) else None
    if not isinstance(name, str):
        raise ToolError('view_image: expected {"path": string}')
    at = place(name, ctx)
    return Plan(call, item={"type": "imageView", "path": str(at.path)}, data=at)


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    return Outcome([read_image(plan.data)], item=plan.item)


def read_image(at: Place) -> dict[str, Any]:
    """A picture as a part of the model's input. Errors: ToolError."""
    try:
        data = files.read_bytes(at.root, at.relative, MAX_IMAGE_BYTES)
    except OSError as error:
        raise ToolError(f"{at.path}: {error.strerror}") from None
    url = f"data:{_media_type(data, at.path)};base64,{base64.b64encode(data).decode()}"
    return {"type": "input_image", "image_url": url}


def _media_type(data: bytes, path: Path) -> str:
    """By the first bytes: a file's name proves nothing, and providers refuse a whole request over a wrong one."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ToolError(f"{path}: not a PNG, JPEG, GIF or WebP picture")
