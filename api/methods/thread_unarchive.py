"""thread/unarchive: Make an archived thread usable again."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import ThreadResult
from shared.events.log import Event
from shared.views.thread import thread_object

NAME = "thread/unarchive"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The archived thread to restore.

    Errors: NotFound; Conflict (it is not archived)
    Source: PROTOCOL 5.11
    """


Result = ThreadResult
EXAMPLE = Example(params=ON_THREAD, result={"thread": THREAD})


def handle(ctx: Context, params: Params) -> Result:
    thread_id = ctx.get_thread(params.thread_id, missing="no archived rollout found for thread id {}").id
    thread = ctx.store.threads.unarchive(thread_id, ctx.user_id, audit_entry=ctx.audit_entry(NAME))
    ctx.after_reply(ctx.publish, thread_id, Event("thread/unarchived", {"threadId": thread_id}))
    return Result(thread=thread_object(thread))
