"""thread/share/list: List the links that open a thread. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.methods.thread_share_create import EXAMPLE as CREATED
from api.methods.thread_share_create import ShareObject, share_object
from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams

NAME = "thread/share/list"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread.

    Errors: NotFound
    """


@dataclass(frozen=True)
class Result:
    """data: newest first, without secrets, which nobody can read again"""

    data: Sequence[ShareObject]


EXAMPLE = Example(params=ON_THREAD, result={"data": [CREATED.result["share"]]})


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    return Result(data=[share_object(one) for one in ctx.store.thread_shares.of_thread(thread.id, ctx.user_id)])
