"""Pictures that the user names by their paths: opened as the thread may, and shown to the model with the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.errors import ToolError
from workers.tools.base import ToolContext
from workers.tools.places import place
from workers.tools.view_image import read_image

MAX_CHARACTERS = 20 * 1024 * 1024  # of all pictures of an input, as they are sent: history keeps them


def reader(ctx: ToolContext) -> Callable[[str], dict[str, Any]]:
    """Gives the part of the model's input for a path; for one that cannot be shown, a text that says why."""
    left = MAX_CHARACTERS

    def read(path: str) -> dict[str, Any]:
        nonlocal left
        try:
            part = read_image(place(path, ctx))
            if len(part["image_url"]) > left:
                raise ToolError(f"{path}: the pictures of this message are too large together")
        except ToolError as error:
            return {"type": "input_text", "text": f"[an image of the user that could not be read: {error}]"}
        left -= len(part["image_url"])
        return part

    return read
