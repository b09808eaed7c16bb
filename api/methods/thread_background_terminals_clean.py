"""thread/backgroundTerminals/clean: End all commands of a thread that run on after their turns."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty

NAME = "thread/backgroundTerminals/clean"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread. An item/completed of each command follows when it has ended.

    Errors: NotFound
    Source: PROTOCOL 5.11
    """


Result = Empty
EXAMPLE = Example(params=ON_THREAD)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    ctx.stop_terminals(thread.id)
    return Result()
