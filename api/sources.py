"""What a new thread's workspace is made from: `config.workspace` of thread/start, and the source of a fork.

Checked here as far as the configuration and the store tell; a worker looks again and makes it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ParamsSchema, load
from shared.errors import InvalidParams
from shared.store.threads import Thread
from shared.store.workspaces import READY
from shared.workspaces import MAX_URL_CHARACTERS, git_source

KEY = "workspace"
MAX_REF_CHARACTERS = 250
MAX_NAME_CHARACTERS = 100


class WorkspaceSchema(ParamsSchema):
    """`config.workspace`. Shape: {"gitUrl": https URL, "ref"?: branch, tag or commit (else the default branch),
    "credential"?: name of one of the operator's} or {"archive": id of an upload}. docs/WORKSPACES.md"""

    git_url = fields.Str(validate=validate.Length(1, MAX_URL_CHARACTERS))
    ref = fields.Str(validate=validate.Length(1, MAX_REF_CHARACTERS))
    credential = fields.Str(validate=validate.Length(1, MAX_NAME_CHARACTERS))
    archive = fields.Str(validate=validate.Length(1, MAX_NAME_CHARACTERS))


def take(ctx: Context, params: dict[str, Any]) -> dict[str, Any] | None:
    """Take `workspace` out of `config`: what the thread is to begin with, or None. Errors: InvalidParams, NotFound."""
    given = params.get("config", {})
    if given.get(KEY) is None:
        return None
    params["config"] = {name: value for name, value in given.items() if name != KEY}
    asked = given[KEY]
    source = load(WorkspaceSchema(), asked)
    unknown = set(asked) - {field.data_key for field in WorkspaceSchema().fields.values()}
    if unknown:
        raise InvalidParams(f"config.workspace: unknown member {min(unknown)[:80]!r}")
    if ("git_url" in source) == ("archive" in source) or ("archive" in source and len(source) > 1):
        raise InvalidParams("config.workspace: expected gitUrl (with ref, credential) or archive")
    if params.get("cwd") is not None:
        raise InvalidParams("config.workspace: it is a folder of the thread's own; leave cwd out")
    if "archive" in source:
        ctx.store.archives.check(source["archive"], ctx.user_id)
        return source
    wire = {"gitUrl": source.pop("git_url"), **source}
    git_source(ctx.config.workspaces, ctx.store.workspaces.user_name(ctx.user_id), wire)
    return wire


def of_fork(ctx: Context, origin: Thread, forked: Thread) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Settings that a fork gets of its own, and what its workspace is made from.

    A thread that works in its own workspace has it copied; one that works elsewhere shares that folder with its fork.
    """
    old = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id / origin.id
    cwd = PurePosixPath(origin.settings["cwd"])
    if not cwd.is_relative_to(old):
        return {KEY: None}, None
    new = old.parent / forked.id
    policy = dict(origin.settings["sandboxPolicy"])
    if policy.get("writableRoots"):
        roots = [PurePosixPath(root) for root in policy["writableRoots"]]
        policy["writableRoots"] = [str(new / r.relative_to(old) if r.is_relative_to(old) else r) for r in roots]
    made = ctx.store.workspaces.find(origin.id, ctx.user_id)
    source = made.source if made is not None and made.state != READY else {"forkOf": origin.id}
    return {"cwd": str(new / cwd.relative_to(old)), "sandboxPolicy": policy, KEY: True}, source
