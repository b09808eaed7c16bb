"""view_image: show the model an image from the workspace."""

from __future__ import annotations

from pathlib import Path

from shared.errors import InvalidImage, ToolError
from shared.images import MAX_IMAGE_BYTES, data_url
from shared.protocol.model_items import ImagePart, ToolDefinition
from workers.sandbox import files
from workers.tools.arguments import read_arguments
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult
from workers.tools.patch_target import PatchTarget, patch_target

NAME = "view_image"
PURE = True
PARALLEL = True

SPEC: ToolDefinition = {
    "type": "function",
    "name": NAME,
    "description": "Look at an image file: PNG, JPEG, GIF or WebP, up to 10 MiB.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "Absolute, or relative to the working directory"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `imageView` with the absolute path (PROTOCOL 3.3); data: its PatchTarget."""
    name = read_arguments(call.arguments, NAME).get("path")
    if not isinstance(name, str):
        raise ToolError('view_image: expected {"path": string}')
    target = patch_target(name, ctx)
    return PreparedCall(call, item={"type": "imageView", "path": str(target.path)}, data=target)


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    return ToolResult([read_image(prepared.data)], item=prepared.item)


def read_image(target: PatchTarget) -> ImagePart:
    """Return an image as a part of the model's input. Errors: ToolError."""
    return image_file(target.file.root, target.file.relative, target.path)


def image_file(root: Path, relative: Path, path: Path, *, follow_links: bool = True) -> ImagePart:
    """Return an image file below root as a part of the model's input. path: as people know it. Errors: ToolError."""
    try:
        data = files.read_bytes(root, relative, MAX_IMAGE_BYTES, follow_links=follow_links)
    except FileNotFoundError:
        raise ToolError(f"{path}: no such file on the server") from None
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from None
    try:
        return {"type": "input_image", "image_url": data_url(data)}
    except InvalidImage as error:
        raise ToolError(f"{path}: {error}") from None
