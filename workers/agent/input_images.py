"""Images of the user: checked, those in files opened under the thread's permissions, and sent with the message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from shared.errors import InvalidImage, InvalidRequest, ToolError
from shared.images import checked_url, left_out
from shared.protocol.model_items import ContentPart, ImagePart, ReadImage
from shared.protocol.user_input import ImageInput, LocalImageInput
from workers.tools.base import ToolContext
from workers.tools.patch_target import patch_target
from workers.tools.view_image import image_file, read_image
from workers.workspace.scope import WorkspaceScope

MAX_CHARACTERS = 20 * 1024 * 1024  # of all images of an input, as they are sent; history keeps them


def reader(ctx: ToolContext, scope: Callable[[], WorkspaceScope], refused: list[str]) -> ReadImage:
    """Return a function from an image to a part of the model's input: the image, or a text why it is left out.

    scope:   finds the files that the thread's owner may name, if there is an image in a file
    refused: gets the reason for each image that is left out
    """
    left = MAX_CHARACTERS

    def read(part: ImageInput | LocalImageInput) -> ContentPart:
        nonlocal left
        try:
            image = _image(part, ctx, scope)
            if len(image["image_url"]) > left:
                raise InvalidImage("the images of this message are too large together")
        except (InvalidImage, InvalidRequest, ToolError) as error:
            refused.append(str(error))
            return {"type": "input_text", "text": left_out(error)}
        left -= len(image["image_url"])
        return image

    return read


def _image(part: ImageInput | LocalImageInput, ctx: ToolContext, find_scope: Callable[[], WorkspaceScope]) -> ImagePart:
    if part["type"] == "image":
        return {"type": "input_image", "image_url": checked_url(part["url"])}
    scope = find_scope()
    if scope.hosted:
        return read_image(patch_target(part["path"], ctx))
    # The user named the file, not the model: a screenshot in /tmp, which the thread's commands do not see.
    path = Path(os.path.normpath(ctx.cwd / part["path"]))
    with scope.scoped_path(str(path)) as found:
        return image_file(found.root, found.relative, path, follow_links=found.follow_links)
