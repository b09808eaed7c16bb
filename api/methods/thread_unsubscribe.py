"""thread/unsubscribe: Stop following a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams

NAME = "thread/unsubscribe"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread. An unknown one is no error.

    Source: PROTOCOL 5.11
    """


@dataclass(frozen=True)
class Result:
    """status: "unsubscribed" if this connection followed the thread"""

    status: Literal["unsubscribed", "notSubscribed", "notLoaded"]


EXAMPLE = Example(params=ON_THREAD, result={"status": "unsubscribed"})


def handle(ctx: Context, params: Params) -> Result:
    thread_id = params.thread_id
    if ctx.connection is not None and ctx.services.relay.unfollow(ctx.connection, thread_id):
        return Result(status="unsubscribed")
    thread = ctx.store.threads.find(thread_id, ctx.user_id)
    return Result(status="notSubscribed" if thread is not None and thread.loaded else "notLoaded")
