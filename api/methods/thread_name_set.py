"""thread/name/set: Name a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared.errors import InvalidRequest
from shared.events.log import Event

NAME = "thread/name/set"
MAX_NAME_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and its name.

    Errors: InvalidParams (too long); NotFound; InvalidRequest (the name is empty)
    Source: PROTOCOL 5.11
    """

    name: Annotated[str, validate.Length(max=MAX_NAME_CHARACTERS)]


Result = Empty
EXAMPLE = Example(params={**ON_THREAD, "name": "The flaky test"})


def handle(ctx: Context, params: Params) -> Result:
    name = params.name.strip()
    if not name:
        raise InvalidRequest("thread name must not be empty")
    thread_id = ctx.get_thread(params.thread_id, missing="no rollout found for thread id {}").id
    ctx.store.threads.set_name(thread_id, ctx.user_id, name)
    ctx.after_reply(ctx.publish, thread_id, Event("thread/name/updated", {"threadId": thread_id, "threadName": name}))
    return Result()
