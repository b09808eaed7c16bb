"""What a client may name of a worker's files: as far as text can tell. The worker looks again, at what is there."""

from __future__ import annotations

import base64
import binascii
from pathlib import PurePosixPath
from typing import Any

from marshmallow import ValidationError

from api.context import Context
from api.settings import allowed_modes, allowed_path
from shared.errors import Conflict, InvalidParams, InvalidRequest
from shared.ids import is_id
from shared.protocol.base import camel_case
from shared.store.workspaces import FAILED, READY

FORMATS = ("diff", "bundle", "tar")


def check_paths(ctx: Context, params: dict[str, Any], *names: str) -> None:
    """Absolute, normalised, below what the user may name. Errors: InvalidParams."""
    for name in names:
        params[name] = allowed_path(ctx.config, ctx.user_id, params[name], camel_case(name))


def check_writable(ctx: Context) -> None:
    """A user whose every command may only read cannot write by another door. Errors: InvalidRequest."""
    if allowed_modes(ctx.config, ctx.user_id) == {"read-only"}:
        raise InvalidRequest("this server lets its clients write nothing (sandbox_modes)")


def note_act(ctx: Context, action: str, path: str | None) -> None:
    """In the audit log, before a worker is asked: an act that nobody answers for is worse than one that was tried."""
    own = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id
    thread_id = None
    if path is not None and PurePosixPath(path).is_relative_to(own):
        folder = PurePosixPath(path).relative_to(own).parts[:1]
        thread_id = next(filter(is_id, folder), None)
    ctx.store.audit.append(ctx.act(action), thread_id=thread_id)


def is_base64(text: str) -> None:
    """For a field. Errors: ValidationError."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValidationError(f"requires valid base64: {error}") from None


def workspace_params(ctx: Context, thread_id: str, wanted: str) -> dict[str, Any]:
    """What a worker must know to read a thread's workspace. Errors: NotFound, Conflict, InvalidRequest."""
    if wanted not in FORMATS:
        raise InvalidParams(f"format: expected one of {', '.join(FORMATS)}")
    thread = ctx.get_thread(thread_id)
    own = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id / thread_id
    if not PurePosixPath(thread.settings["cwd"]).is_relative_to(own):
        raise InvalidRequest("the thread works in a folder that is not its own; only workspaces can be downloaded")
    made = ctx.store.workspaces.find(thread_id, ctx.user_id)
    if made is not None and made.state != READY:
        why = f"could not be made: {made.reason}" if made.state == FAILED else "is made with the thread's first turn"
        raise Conflict(f"the workspace {why}")
    start_tree, base = (made.start_tree, made.base) if made is not None else (None, None)
    return {"thread_id": thread_id, "format": wanted, "start_tree": start_tree, "base": base}
