"""skills/config/write: Enable or disable skills for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from shared.errors import InvalidParams, InvalidRequest
from shared.protocol.skills import MAX_SWITCHES, SETTINGS_KEY, SkillSwitch, is_enabled, own_settings

NAME = "skills/config/write"
MAX_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Either `name`, for all skills of that name, or `path`, for the one with that SKILL.md.

    Threads follow from their next turn on. Unknown skills are accepted: they may come later.
    Errors: InvalidParams; InvalidRequest (too many skills are set)
    """

    enabled: bool
    name: Annotated[str, validate.Length(max=MAX_CHARACTERS)] = ""
    path: Annotated[str, validate.Length(max=MAX_CHARACTERS)] = ""


@dataclass(frozen=True)
class Result:
    """effective_enabled: what holds now

    Source: BEHAVIOUR-171 7, schema SkillsConfigWriteResponse
    """

    effective_enabled: bool


EXAMPLE = Example(params={"name": "release-notes", "enabled": False}, result={"effectiveEnabled": False})


def handle(ctx: Context, params: Params) -> Result:
    if bool(params.name) == bool(params.path):
        raise InvalidParams("skills/config/write requires exactly one of path or name")
    if params.path and not params.path.startswith("/"):
        raise InvalidParams("path: expected the absolute path of a SKILL.md")
    kind = "name" if params.name else "path"
    wanted: SkillSwitch = {"enabled": params.enabled}
    wanted |= {"name": params.name} if params.name else {"path": params.path}
    of_operator = ctx.config.skills.switches

    def edit(values: Mapping[str, object]) -> Mapping[str, object]:
        own = own_settings(values)
        switches = [one for one in own.get("config", ()) if one.get(kind) != wanted.get(kind)]
        if is_enabled(params.name, params.path, of_operator) != params.enabled:
            switches.append(wanted)
        if len(switches) > MAX_SWITCHES:
            raise InvalidRequest(f"you have set {MAX_SWITCHES} skills, the limit; enable some that you disabled")
        return {**values, SETTINGS_KEY: {**own, "config": switches}}

    ctx.store.user_configs.change(ctx.user_id, edit, None, audit_entry=ctx.audit_entry(NAME))
    return Result(effective_enabled=params.enabled)
