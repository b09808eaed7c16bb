"""thread/rollback: Remove the last turns of a thread. Newer clients call thread/revert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import ON_THREAD, THREAD, Example
from api.requests.history import newest_turns
from api.requests.params import ThreadParams
from api.requests.results import ThreadResult
from api.requests.turn_control import revert_thread
from shared.views.thread import thread_object

NAME = "thread/rollback"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and how many turns to remove.

    num_turns: if it is more than the thread has, all turns are removed
    Errors: NotFound; Conflict (the worker does not stop the active turn)
    Source: PROTOCOL 5.11
    """

    num_turns: Annotated[int, validate.Range(1)]


Result = ThreadResult
EXAMPLE = Example(params={**ON_THREAD, "numTurns": 1}, result={"thread": THREAD})


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    last = ctx.store.turns.of_thread(thread.id, ctx.user_id, descending=True, limit=params.num_turns)
    if last:
        revert_thread(ctx, thread, last[-1].id, ctx.audit_entry(NAME))
    turns = ctx.store.turns.of_thread(thread.id, ctx.user_id)
    objects, _ = newest_turns(ctx, thread.id, turns)
    return Result(thread=thread_object(ctx.get_thread(thread.id), objects))
