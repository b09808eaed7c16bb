"""Paths and workspaces that a request names. They are checked as text; the worker checks them again on its disk."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TypedDict

from marshmallow import ValidationError

from api.requests.context import Context
from api.requests.sandbox_policy import allowed_modes, allowed_path
from shared.errors import Conflict, InvalidParams, InvalidRequest
from shared.ids import is_id
from shared.protocol.sandbox_modes import READ_ONLY
from shared.store.users import LOCAL_USER
from shared.store.workspaces import FAILED, READY

FORMATS = ("diff", "bundle", "tar")


class WorkspaceReadParams(TypedDict):
    """Params of the worker call that reads a workspace. start_tree, base: git ids, or None without a source."""

    thread_id: str
    format: str
    start_tree: str | None
    base: str | None


def checked_path(ctx: Context, path: str, name: str) -> str:
    """Return a path normalised. name: the param, for the error. Errors: InvalidParams (the user may not name it)."""
    return allowed_path(ctx.config, ctx.user_id, path, name)


def same_folders(ctx: Context, paths: Sequence[str]) -> list[str]:
    """Return the folders that threads of the user may have as theirs and that are the same as these.

    A trailing slash, "." and ".." make no difference. For a local user, whose computer this is, links make none either;
    they are read and nothing is opened. A path that is not absolute is no folder of a thread.
    """
    given = {"/" + os.path.normpath(path).lstrip("/") for path in paths if path.startswith("/") and "\0" not in path}
    if ctx.user_id != LOCAL_USER or not given:
        return sorted(given)
    real = {os.path.realpath(path) for path in given}
    linked = (folder for folder in ctx.store.threads.folders(ctx.user_id) if os.path.realpath(folder) in real)
    return sorted({*given, *real, *linked})


def check_writable(ctx: Context) -> None:
    """Refuse writes by methods when all of the user's commands are read-only. Errors: InvalidRequest."""
    if allowed_modes(ctx.config, ctx.user_id) == {READ_ONLY}:
        raise InvalidRequest("this server does not let its clients write files ([server] sandbox_modes is read-only)")


def audit_path(ctx: Context, action: str, path: str | None) -> None:
    """Append to the audit log which thread's files an action concerns, before a worker is asked.

    An entry for an action that then fails is better than an action without an entry.
    """
    own = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id
    thread_id = None
    if path is not None and PurePosixPath(path).is_relative_to(own):
        folder = PurePosixPath(path).relative_to(own).parts[:1]
        thread_id = next(filter(is_id, folder), None)
    ctx.store.audit.append(ctx.audit_entry(action), thread_id=thread_id)


def is_base64(text: str) -> None:
    """Validate a field. Errors: ValidationError."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValidationError(f"requires valid base64: {error}") from None


def workspace_params(ctx: Context, thread_id: str, wanted: str) -> WorkspaceReadParams:
    """Return what a worker has to know to read a thread's workspace.

    wanted: one of FORMATS
    Errors: NotFound, Conflict (the workspace does not exist yet), InvalidParams, InvalidRequest
    """
    if wanted not in FORMATS:
        raise InvalidParams(f"format: expected one of {', '.join(FORMATS)}")
    thread = ctx.get_thread(thread_id)
    own = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id / thread_id
    if not PurePosixPath(thread.settings["cwd"]).is_relative_to(own):
        raise InvalidRequest("the thread works in a folder that is not its own; only workspaces can be downloaded")
    made = ctx.store.workspaces.find(thread_id, ctx.user_id)
    if made is not None and made.state == FAILED:
        raise Conflict(f"the workspace could not be made: {made.reason}")
    if made is not None and made.state != READY:
        raise Conflict("the workspace does not exist yet: it is made with the thread's first turn")
    start_tree, base = (made.start_tree, made.base) if made is not None else (None, None)
    return {"thread_id": thread_id, "format": wanted, "start_tree": start_tree, "base": base}
