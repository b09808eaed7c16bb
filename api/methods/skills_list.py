"""skills/list: List the skills of threads that work in the folders that the client names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from shared.errors import CallLost, Overloaded, Unavailable
from shared.event_names import worker_channel
from shared.protocol.skills import FolderSkills, own_settings

NAME = "skills/list"
SLOW = True
MAX_CWDS = 16
MAX_PATH_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """cwds: folders. For one that the user has not on the server, for example of the client's machine, only the skills
            are listed that belong to no project. Without `cwds` those of the user and the operator are listed.
    force_reload: no effect: the skills are always read anew
    """

    cwds: Sequence[str] = field(default_factory=list)
    force_reload: bool = False


@dataclass(frozen=True)
class Result:
    """data: one entry for each of the first 16 folders of `cwds`; while no worker is free, with an error and no skills

    Source: PROTOCOL 5.12, schema SkillsListResponse
    """

    data: Sequence[FolderSkills]


EXAMPLE = Example(
    params={"cwds": [FOLDER]},
    result={
        "data": [
            {
                "cwd": FOLDER,
                "skills": [
                    {
                        "name": "release-notes",
                        "description": "Write the notes of a release from the commits since the last one.",
                        "path": f"{FOLDER}/.agents/skills/release-notes/SKILL.md",
                        "scope": "repo",
                        "enabled": True,
                        "pluginId": None,
                    }
                ],
                "errors": [
                    {
                        "path": f"{FOLDER}/.agents/skills/draft/SKILL.md",
                        "message": "missing YAML frontmatter delimited by ---",
                    }
                ],
            }
        ]
    },
)


def handle(ctx: Context, params: Params) -> Result:
    asked = [cwd for cwd in params.cwds if len(cwd) <= MAX_PATH_CHARACTERS][:MAX_CWDS]
    if params.cwds and not asked:
        return Result(data=[])
    settings = own_settings(ctx.store.user_configs.get(ctx.user_id)[0])
    try:
        if not ctx.services.redis.pubsub_channels(worker_channel("*")):
            raise Unavailable("no worker is running")
        found = call_worker(ctx, NAME, {"cwds": asked, "settings": settings})
    except (Unavailable, Overloaded, CallLost, redis.RedisError, RuntimeError) as error:  # the last: an older worker
        message = f"the skills could not be read: {error}"
        return Result(data=[{"cwd": cwd, "skills": [], "errors": [{"path": cwd, "message": message}]} for cwd in asked])
    return Result(data=found["data"])
