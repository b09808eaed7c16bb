"""review/start: a turn in which the model reviews changes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ParamsSchema, ThreadParams, variant
from shared import telemetry
from shared.errors import InvalidParams
from shared.protocol.base import WireSchema
from shared.protocol.turn import turn_object
from shared.store.turns import NewTurn

NAME = "review/start"
SHA = re.compile(r"[0-9A-Fa-f]{4,64}")
BRANCH = re.compile(r"(?!-)[^\0-\x20\x7f~^:?*\[\\`'\"$;|&<>()]{1,250}")
MAX_INSTRUCTIONS_CHARACTERS = 100_000


class Target(ParamsSchema):
    """What to review.

    Shape: {"type": "uncommittedChanges"} | {"type": "baseBranch", "branch"} | {"type": "commit", "sha", "title"?}
           | {"type": "custom", "instructions"}
    """

    type = fields.Str(required=True, validate=variant("uncommittedChanges", "baseBranch", "commit", "custom"))
    branch = fields.Str(load_default="")
    sha = fields.Str(load_default="")
    title = fields.Str(load_default="")
    instructions = fields.Str(load_default="", validate=validate.Length(0, MAX_INSTRUCTIONS_CHARACTERS))


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "target": Target, "delivery": "inline"?}
    Errors: InvalidParams (also for a delivery on a thread of its own: start one, and review there); NotFound;
            Conflict (a turn is active, or the thread is archived); Overloaded (too many queued turns)
    Source: PROTOCOL 5.11
    """

    target = fields.Nested(Target, required=True)
    delivery = fields.Str(validate=variant("inline"))


class Result(WireSchema):
    """The turn, and the thread that it is on."""

    turn = fields.Dict()
    review_thread_id = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    shown, asked = _words(params["target"])
    text = {"type": "text", "text": asked, "text_elements": []}
    new = NewTurn([text], None, {}, {"kind": "review", "review": shown, **telemetry.carried()})
    turn = ctx.store.turns.create(params["thread_id"], ctx.user_id, new, **ctx.room_for_turn(), act=ctx.act(NAME))
    ctx.after_reply(ctx.ring, turn)
    return {"turn": turn_object(replace(turn, started_at_ms=None)), "review_thread_id": turn.thread_id}


def _words(target: dict[str, Any]) -> tuple[str, str]:
    """(what clients show of it, what the model is asked). Errors: InvalidParams."""
    match target["type"]:
        case "uncommittedChanges":
            return "current changes", "Review the current changes: staged, unstaged and untracked files."
        case "baseBranch":
            branch = target["branch"]
            if not BRANCH.fullmatch(branch):
                raise InvalidParams("target.branch: expected the name of a branch")
            asked = f"Review the changes of this branch against `{branch}`: those since `git merge-base HEAD {branch}`."
            return f"changes against '{branch}'", asked
        case "commit":
            sha = target["sha"]
            if not SHA.fullmatch(sha):
                raise InvalidParams("target.sha: expected the hash of a commit")
            title = f": {target['title']}" if target["title"] else ""
            return f"commit {sha[:7]}{title}", f"Review the changes that commit {sha}{title} made."
        case _:
            instructions = target["instructions"].strip()
            if not instructions:
                raise InvalidParams("target.instructions: expected a text")
            return instructions, instructions
