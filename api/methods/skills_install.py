"""skills/install: Upload skills for all threads of the user. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import is_base64
from shared.errors import InvalidRequest
from shared.events import skill_changes

NAME = "skills/install"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The upload: one folder with a SKILL.md, or several, packed as zip, tar or tar.gz.

    data_base64: the archive; SKILL.md is in it at the top, or in folders at the top. A skill that the user has uploaded
                 under the same name is replaced.
    Errors: InvalidRequest (the archive or a SKILL.md is refused, or a limit of [skills] is reached; nothing was kept);
            Unavailable (no worker is free); CallLost (the worker was lost: send it again)
    """

    data_base64: Annotated[str, is_base64]


@dataclass(frozen=True)
class Result:
    """names: of the skills that were installed"""

    names: Sequence[str]


EXAMPLE = Example(params={"dataBase64": "UEsDBBQAAAAIAA=="}, result={"names": ["release-notes"]})


def handle(ctx: Context, params: Params) -> Result:
    limits = ctx.config.skills
    if not limits.per_user:
        raise InvalidRequest("this server takes no uploads of skills ([skills] per_user is 0)")
    if len(params.data_base64) > 4 * (limits.upload_bytes // 3 + 1):
        raise InvalidRequest(
            f"the archive is larger than {limits.upload_bytes} bytes, the limit of this server ([skills] upload_bytes)"
        )
    ctx.services.limits.check_bytes(ctx.user_id)
    ctx.store.audit.append(ctx.audit_entry(NAME))
    found = call_worker(ctx, NAME, {"data_base64": params.data_base64})
    skill_changes.publish(ctx.services.redis, ctx.user_id)
    return Result(names=found["names"])
