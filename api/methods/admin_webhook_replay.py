"""admin/webhook/replay: Send a delivery to a webhook again. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import DELIVERY_ID, Example
from api.requests.params import MethodParams
from shared.errors import Conflict

NAME = "admin/webhook/replay"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The delivery. A worker sends it within seconds, under the same id and with all attempts again.

    Errors: Forbidden; Conflict (no delivery to a webhook of config.toml has this id, or it is being sent now)
    """

    delivery_id: str


@dataclass(frozen=True)
class Result:
    """Empty."""


EXAMPLE = Example(params={"deliveryId": DELIVERY_ID})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    if not ctx.store.outbox.replay(params.delivery_id, audit_entry=ctx.audit_entry(NAME)):
        raise Conflict("no delivery to a webhook of config.toml has this id, or it is being sent now")
    ctx.after_reply(ctx.services.queue.enqueue_delivery)
    return Result()
