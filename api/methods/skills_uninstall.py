"""skills/uninstall: Remove a skill that the user has uploaded. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.worker_calls import call_worker
from shared.events import skill_changes

NAME = "skills/uninstall"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """name: as skills/install has returned it

    Errors: NotFound (the user has uploaded no such skill); Unavailable (no worker is free); CallLost (the worker was
            lost)
    """

    name: Annotated[str, validate.Length(max=64)]


Result = Empty
EXAMPLE = Example(params={"name": "release-notes"})


def handle(ctx: Context, params: Params) -> Result:
    ctx.store.audit.append(ctx.audit_entry(NAME))
    call_worker(ctx, NAME, {"name": params.name})
    skill_changes.publish(ctx.services.redis, ctx.user_id)
    return Result()
