"""thread/archive: Archive a thread. Its turn is interrupted, its background terminals are ended."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from api.requests.turn_control import stop_thread
from shared.events.log import Event

NAME = "thread/archive"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread to archive.

    Errors: NotFound; Conflict (the turn did not end in time)
    Source: PROTOCOL 5.11
    """


Result = Empty
EXAMPLE = Example(params=ON_THREAD)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id, missing="no rollout found for thread id {}")
    stop_thread(ctx, thread)
    ctx.store.threads.archive(thread.id, ctx.user_id, audit_entry=ctx.audit_entry(NAME))
    ctx.after_reply(
        ctx.publish,
        thread.id,
        Event("thread/status/changed", {"threadId": thread.id, "status": {"type": "notLoaded"}}),
        Event("thread/archived", {"threadId": thread.id}),
    )
    return Result()
