"""admin/queue/read: Read what waits for workers, and why. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams
from shared.queue_state import read_queues

NAME = "admin/queue/read"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params.

    Errors: Forbidden
    """


@dataclass(frozen=True)
class Result:
    """data: an entry for each kind of work, those of one queue together; of queued turns one for each cause"""

    data: Sequence[admin.WaitingObject]


EXAMPLE = Example(result={"data": [admin.WAITING]})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    return Result(data=[admin.waiting_object(one) for one in read_queues(ctx.store, ctx.services.redis, ctx.config)])
