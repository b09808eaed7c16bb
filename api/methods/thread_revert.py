"""thread/revert: Remove a turn and all later ones from a thread."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, THREAD, TURN_ID, Example
from api.requests.history import newest_cursors
from api.requests.params import ThreadParams
from api.requests.turn_control import revert_thread
from shared.protocol.thread import ThreadObject
from shared.views.thread import thread_object

NAME = "thread/revert"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The history is shortened; files stay as they are. An active turn is interrupted first.

    before_turn_id: the first turn to remove
    Errors: NotFound; InvalidRequest (no such turn); Conflict (the worker does not stop the active turn)
    Source: PROTOCOL 5.11
    """

    before_turn_id: str


@dataclass(frozen=True)
class Result:
    """The thread without its turns, and the new ends of its lists.

    turns_backwards_cursor: for thread/turns/list, to read backwards from the newest turn
    items_backwards_cursor: for thread/items/list, to read backwards from the newest completed item
    """

    thread: ThreadObject
    turns_backwards_cursor: str | None
    items_backwards_cursor: str | None


EXAMPLE = Example(
    params={**ON_THREAD, "beforeTurnId": TURN_ID},
    result={"thread": THREAD, "turnsBackwardsCursor": None, "itemsBackwardsCursor": None},
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    revert_thread(ctx, thread, params.before_turn_id, ctx.audit_entry(NAME))
    turns_cursor, items_cursor = newest_cursors(ctx.store, ctx.user_id, thread.id)
    return Result(
        thread=thread_object(ctx.get_thread(thread.id)),
        turns_backwards_cursor=turns_cursor,
        items_backwards_cursor=items_cursor,
    )
