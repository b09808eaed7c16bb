"""review/start: Begin a turn in which the model reviews changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import ON_THREAD, THREAD_ID, TURN, Example
from api.requests.params import ThreadParams
from shared import telemetry
from shared.errors import InvalidParams
from shared.protocol.turn import TurnObject
from shared.protocol.user_input import TextInput
from shared.store.turns import NewTurn
from shared.views.turn import turn_object

NAME = "review/start"
SHA = re.compile(r"[0-9A-Fa-f]{4,64}")
BRANCH = re.compile(r"(?!-)[^\0-\x20\x7f~^:?*\[\\`'\"$;|&<>()]{1,250}")
MAX_INSTRUCTIONS_CHARACTERS = 100_000


@dataclass(frozen=True, kw_only=True)
class ReviewTarget:
    """What to review.

    branch:       of "baseBranch": review the changes against this branch
    sha:          of "commit": review the changes of this commit
    title:        of "commit": its subject, optional
    instructions: of "custom": what to review, in words
    """

    type: Literal["uncommittedChanges", "baseBranch", "commit", "custom"]
    branch: str = ""
    sha: str = ""
    title: str = ""
    instructions: Annotated[str, validate.Length(0, MAX_INSTRUCTIONS_CHARACTERS)] = ""


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and what to review.

    delivery: only "inline": to review on another thread, start that thread and call review/start there
    Errors: InvalidParams; NotFound; Conflict (a turn is active, or the thread is archived); Overloaded (too many queued
            turns)
    Source: PROTOCOL 5.11
    """

    target: ReviewTarget
    delivery: Literal["inline"] | None = None


@dataclass(frozen=True)
class Result:
    """The new turn.

    review_thread_id: the thread of the turn
    """

    turn: TurnObject
    review_thread_id: str


EXAMPLE = Example(
    params={**ON_THREAD, "target": {"type": "uncommittedChanges"}}, result={"turn": TURN, "reviewThreadId": THREAD_ID}
)


def handle(ctx: Context, params: Params) -> Result:
    shown, request = _describe(params.target)
    text: TextInput = {"type": "text", "text": request, "text_elements": []}
    new = NewTurn([text], None, {}, telemetry.with_trace({"kind": "review", "review": shown}))
    turn = ctx.store.turns.create(
        params.thread_id, ctx.user_id, new, **ctx.turn_limits(), audit_entry=ctx.audit_entry(NAME)
    )
    ctx.after_reply(ctx.enqueue_turn, turn)
    return Result(turn=turn_object(replace(turn, started_at_ms=None)), review_thread_id=turn.thread_id)


def _describe(target: ReviewTarget) -> tuple[str, str]:
    """Return the text that clients show for the target, and the request to the model. Errors: InvalidParams."""
    match target.type:
        case "uncommittedChanges":
            return "current changes", "Review the current changes: staged, unstaged and untracked files."
        case "baseBranch":
            branch = target.branch
            if not BRANCH.fullmatch(branch):
                raise InvalidParams("target.branch: expected the name of a branch")
            request = (
                f"Review the changes of this branch against `{branch}`: those since `git merge-base HEAD {branch}`."
            )
            return f"changes against '{branch}'", request
        case "commit":
            if not SHA.fullmatch(target.sha):
                raise InvalidParams("target.sha: expected the hash of a commit")
            title = f": {target.title}" if target.title else ""
            return f"commit {target.sha[:7]}{title}", f"Review the changes that commit {target.sha}{title} made."
        case "custom":
            instructions = target.instructions.strip()
            if not instructions:
                raise InvalidParams("target.instructions: expected a non-empty text")
            return instructions, instructions
