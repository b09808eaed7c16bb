"""What a new thread's workspace is made from: `config.workspace` of thread/start, and the source of a fork.

The source is checked here against the configuration and the store; a worker checks it again and makes the workspace.

Shape of a source: {"gitUrl", "ref"?, "credential"?} | {"archive": id} | {"forkOf": thread id}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import cast

from marshmallow import fields, validate

from api.requests.context import Context
from api.requests.params import ParamsSchema, load
from api.requests.settings import Overrides
from shared.config.workspaces import MAX_URL_CHARACTERS, git_source
from shared.errors import InvalidParams
from shared.protocol.settings import SandboxPolicy, SettingsChanges
from shared.store.threads import Thread
from shared.store.workspaces import READY

KEY = "workspace"
MAX_REF_CHARACTERS = 250
MAX_NAME_CHARACTERS = 100


class WorkspaceSchema(ParamsSchema):
    """`config.workspace` of thread/start.

    Shape:  {"gitUrl": https URL, "ref"?: branch, tag or commit, by default the default branch, "credential"?: name of a
            credential of the operator's} or {"archive": id of an upload}
    Source: docs/WORKSPACES.md
    """

    git_url = fields.Str(validate=validate.Length(1, MAX_URL_CHARACTERS))
    ref = fields.Str(validate=validate.Length(1, MAX_REF_CHARACTERS))
    credential = fields.Str(validate=validate.Length(1, MAX_NAME_CHARACTERS))
    archive = fields.Str(validate=validate.Length(1, MAX_NAME_CHARACTERS))


def split_off(ctx: Context, given: Overrides) -> tuple[Overrides, dict[str, str] | None]:
    """Return the overrides without `config.workspace`, and the source that it asks for, or None.

    Errors: InvalidParams, NotFound (the archive)
    """
    config = given.get("config", {})
    asked = config.get(KEY)
    if asked is None:
        return given, None
    rest = cast(Overrides, {**given, "config": {name: value for name, value in config.items() if name != KEY}})
    return rest, _source(ctx, asked, has_cwd="cwd" in given)


def _source(ctx: Context, asked: object, *, has_cwd: bool) -> dict[str, str]:
    source: dict[str, str] = load(WorkspaceSchema(), asked)
    known = {field.data_key for field in WorkspaceSchema().fields.values()}
    unknown = set(cast(dict[str, object], asked)) - known
    if unknown:
        raise InvalidParams(f"config.workspace: unknown member {min(unknown)[:80]!r}")
    if ("git_url" in source) == ("archive" in source) or ("archive" in source and len(source) > 1):
        raise InvalidParams("config.workspace: expected gitUrl (with ref, credential) or archive")
    if has_cwd:
        raise InvalidParams("config.workspace: the workspace is the thread's folder; leave cwd out")
    if "archive" in source:
        ctx.store.archives.check(source["archive"], ctx.user_id)
        return source
    wire = {"gitUrl": source.pop("git_url"), **source}
    git_source(ctx.config.workspaces, ctx.store.workspaces.user_name(ctx.user_id), wire)
    return wire


def of_fork(ctx: Context, origin: Thread, forked: Thread) -> tuple[SettingsChanges, Mapping[str, object] | None]:
    """Return the settings that a fork does not share with its origin, and the source of its workspace, or None.

    If the origin works in its own workspace, the fork gets a copy of it; otherwise both work in the same folder.
    """
    old = PurePosixPath(ctx.config.server.workspaces_dir) / ctx.user_id / origin.id
    cwd = PurePosixPath(origin.settings["cwd"])
    if not cwd.is_relative_to(old):
        return {"workspace": None}, None
    new = old.parent / forked.id
    policy: SandboxPolicy = origin.settings["sandboxPolicy"].copy()
    if policy.get("writableRoots"):
        roots = [PurePosixPath(root) for root in policy["writableRoots"]]
        policy["writableRoots"] = [str(new / r.relative_to(old) if r.is_relative_to(old) else r) for r in roots]
    made = ctx.store.workspaces.find(origin.id, ctx.user_id)
    source = made.source if made is not None and made.state != READY else {"forkOf": origin.id}
    return {"cwd": str(new / cwd.relative_to(old)), "sandboxPolicy": policy, "workspace": True}, source
