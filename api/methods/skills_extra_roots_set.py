"""skills/extraRoots/set: Set more folders that the user's threads have skills from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from shared.errors import InvalidParams
from shared.events import skill_changes
from shared.protocol.skills import MAX_EXTRA_ROOTS, SETTINGS_KEY, own_settings

NAME = "skills/extraRoots/set"
MAX_CHARACTERS = 4096

Root = Annotated[str, validate.Length(max=MAX_CHARACTERS)]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """extra_roots: absolute paths, instead of those that were set before. They are kept until they are set again. Those
                    that do not exist are ignored; those of a user with a key count for threads whose workspace
                    contains them.
    Errors: InvalidParams
    """

    extra_roots: Annotated[list[Root], validate.Length(max=MAX_EXTRA_ROOTS)]


Result = Empty
EXAMPLE = Example(params={"extraRoots": ["/home/ada/tools/skills"]})


def handle(ctx: Context, params: Params) -> Result:
    for path in params.extra_roots:
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise InvalidParams(f"extraRoots: expected an absolute path without `..`, got {path[:200]!r}")
    roots = list(dict.fromkeys("/" + os.path.normpath(path).lstrip("/") for path in params.extra_roots))

    def edit(values: Mapping[str, object]) -> Mapping[str, object]:
        return {**values, SETTINGS_KEY: {**own_settings(values), "extra_roots": roots}}

    ctx.store.user_configs.change(ctx.user_id, edit, None, audit_entry=ctx.audit_entry(NAME))
    skill_changes.publish(ctx.services.redis, ctx.user_id)
    return Result()
