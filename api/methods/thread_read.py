"""thread/read: Show a thread without following it."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ENDED_TURN, ON_THREAD, THREAD, Example
from api.requests.history import whole_turns
from api.requests.params import ThreadParams
from shared.protocol.thread import ThreadObject
from shared.views.thread import thread_object

NAME = "thread/read"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread to return.

    include_turns: whether the result has all turns with their completed items
    Errors: NotFound; InvalidRequest (the items have more than 16 MiB: use thread/turns/list or thread/items/list)
    Source: PROTOCOL 5.6
    """

    include_turns: bool = False


@dataclass(frozen=True)
class Result:
    """read_state: always null: this server does not record what was read"""

    thread: ThreadObject
    read_state: None


EXAMPLE = Example(
    params={**ON_THREAD, "includeTurns": True},
    result={"thread": {**THREAD, "turns": [ENDED_TURN]}, "readState": None},
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id, missing="thread not loaded: {}")
    turns = ctx.store.turns.of_thread(thread.id, ctx.user_id) if params.include_turns else []
    return Result(thread=thread_object(thread, whole_turns(ctx.store, ctx.user_id, turns)), read_state=None)
